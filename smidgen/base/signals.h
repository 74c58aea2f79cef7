// SIGINT and SIGTERM ask a loop to stop at its next step boundary; a second one of either kind ends
// the process at once with 130 or 143.
#pragma once

namespace smidgen {

// Installs the handlers and ignores SIGPIPE. A signal that was ignored on entry (nohup) stays
// ignored.
void install_signals();

// The signal that asks to stop, or 0.
int stop_requested();

// For tests, and for a loop that handled the request and goes on.
void clear_stop_request();

// Throws interrupted with the signal's name when one was asked for. Call it at step boundaries
// after saving.
void throw_if_stopped();

// 128 + the signal, or 130 when no signal is pending: the exit code of an interrupted command.
int interrupted_exit_code();

}  // namespace smidgen
