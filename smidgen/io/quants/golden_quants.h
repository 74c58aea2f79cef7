// Written by scripts/golden/quants.py; do not edit.
#pragma once

namespace smidgen::golden {

struct FormatDigest {
  const char *format, *sha256;
};

inline constexpr FormatDigest kDecoded[] = {
    {"q4_0", "dc1a090731d07058680c5edb3257adc27aa2d786ce07cb3751a128a4c73eee8c"},
    {"q4_1", "241ba47b7f3677340c5cf1e378a59252a58bdb5f2f606a197bc7accce82340c0"},
    {"q5_0", "e486e1b4ef69c307a4aa04bab164da691f16736fa354b59239fbf8ccca7c2b29"},
    {"q5_1", "64068ae47eb0b4990d3c9706072a3a680b2cb73ebc751c2b8bd80c3e1192ba99"},
    {"q8_0", "524b1ba7ddbe915465fa368d308b45d48e6e7031694eeede412c9289677a3ead"},
    {"q2_k", "1de732d8eab2890fd82130d636ddce82468c5eee7725d81fd87d63bca197dc20"},
    {"q3_k", "73a23175c400ec0dfcf7d82694e679092b19017e6ad342e5f96731e156822ab6"},
    {"q4_k", "0633af5b2c8086dea292258746dbf6bbe66fc4ef68445a964f26c1116119b053"},
    {"q5_k", "c036168c31bc8b5cb86c9ba8d8eb77e120fe081e7b196604f8f47a721b84a413"},
    {"q6_k", "c924937db6df772721b0f32b70c43c0bb9933c293d975d25fda39c639b9bd814"},
    {"tq1_0", "5989224701c92b6f2fdaa52fc879f97d9105600a147db90d60791089f98eca96"},
    {"tq2_0", "f12b3a2e0cf9f9b97ed8022ecf83d6ebe4f116b3e3ae9c66ae6130a256936963"},
    {"iq4_nl", "9a9183ccbde39afa093f0d4ffcc8e78312eb23dc27ced8a286acacdc58c5eafe"},
    {"iq4_xs", "2aa9c7cc2f0d79cde8acc39e07e318021f37ae04ea3cbb1e4490bd326bf7d4ce"},
    {"mxfp4", "80c81a33b68dc65e178d18ef1133ec17d6e1bc222da2e54671e8d141a3f10e76"},
    {"nvfp4", "c4416ee2f2cee4a75dcc2d62a74aae86b73984725dafe3efd80afad6c1564eda"},
    {"iq2_xxs", "a74a7959a42da6b5121e283d159ad2097f62e162bb155126a4d53bd5c175be4e"},
    {"iq2_xs", "2017f5e586b643d3b0d461e6f2a680bccd33d1c00cabde08284d84592047e0c9"},
    {"iq2_s", "a48a511071425a1797b445c171de7c1efe80e0958ab3c34c2cf36aa06851a43b"},
    {"iq3_xxs", "578f2e9f777a98a587ee0a57f2fa1bcdd3156b1525306699cbebf2fa71b199c2"},
    {"iq3_s", "da3ea12f28d72ffb259312c3be17d07063b8001f4dc729f43475e629f4290fa4"},
    {"iq1_s", "f5edbc7d5864a919caf46c5dac98278192ce1b6329be4fe2d7b417e9693d9c4e"},
    {"iq1_m", "24a3e28324e2e9fce771112c64c99779e64c8f63aad19ca2fdda3900766b0dab"},
    {"f8_e4m3", "422eccfaa21e72a6b26855bb10cdcfead6c1ce3262ecd813c99d8cbf9677f2e2"},
    {"f8_e5m2", "229a94c5f728edf2259da970a0e1dfb45cc1d69cce2b30e37659f3212ec4b8b9"},
};

inline constexpr FormatDigest kEncoded[] = {
    {"f16", "1bd8a584295d8df2efdf8a062539e5db84a74e522fed96076f3001f0777a58be"},
    {"bf16", "3574febe4a5e2e8556693df4b36667b6052faf61b712706fbf42a90f31c130d7"},
    {"q8_0", "9ba251b72ca48ddc033ed4318b3d4897dece9c637f2ea881af26891ce62b67e5"},
    {"q4_0", "05df2a79cb93389321959290f63182ac7ff4a53dfff5f3bc76aec01a728e3e84"},
    {"q4_1", "b451876d1b7b0bea88cc0994ff6d722d4c575d030be5cade4efac552ad799885"},
};

}  // namespace smidgen::golden
