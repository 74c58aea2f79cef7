// The merge methods of this build, by the names that recipes use.
#pragma once

#include "smidgen/delta/merge/method.h"
