// Package provision is the engine: it looks at a host, plans what is missing,
// makes it, and looks again.
//
// A [Step] is a wish about a host. It says how to look (its [Probe]) and, as
// a pure function of what was seen, which changes are missing. Planners hold
// no connection and cannot change anything, so a plan cannot lie.
//
//	Look ─► Seen ─► PlanFor ─► Plan ─► a round of changes and the next Look ─► …
//
// [Check] is that loop cut after the first plan; [Apply] goes on until nothing
// is missing.
//
// # Rounds
//
// The order of the steps is the order of the list; there is no graph. Steps
// of one kind ("user a", "user b") stand side by side and do not depend on
// each other, so their changes are made together: first the calls that they
// begin with, then their scripts, then what follows. A round is every change
// up to the first one that is [Later]. Scripts that are neighbours in a round
// travel as one program, in one trip; calls to GitLab run between such
// batches. The last batch carries all probes, so looking again costs nothing.
//
// # The wire
//
// A program is one shell function that is parsed as a whole before any of it
// runs, so a connection that is cut in mid-program changes nothing. Each
// script runs as a function of its own with its data as quoted arguments;
// scripts of other users than root travel as a program inside the program.
// Lines with a random mark say where a script begins and ends and what a probe
// found; everything else is output of the script. A script without an end may
// or may not have done its work: the next look tells.
package provision
