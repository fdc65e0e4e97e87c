package remote

import (
	"errors"
	"fmt"
	"strings"

	"provision/provision/hint"
)

// wrapper is the shell that every program runs in: POSIX, on one line, without
// single quotes, and with a space behind each exclamation mark for the sake of
// csh, so that it can stand in single quotes in the command line of any login
// shell. It is a constant. What it is to run it
// reads from standard input: a line with the number of bytes and a mark, then
// these bytes, of which the last are the mark.
const wrapper = wrapperHead +
	`exec 3<&0 </dev/null; ` +
	// With setsid the program is the leader of its own process group; a child
	// of a shell without job control leads none, so setsid need not fork, and
	// its number is that of the group.
	`printf %s "${program%"$mark"}" | setsid /bin/sh -s 3<&- & job=$! ; ` +
	// Standard input stays open as long as anybody waits for the program. Its
	// end stops the program, politely, and after five seconds for certain. The
	// group may not be there yet, hence the second kill.
	`{ while read -r _; do :; done <&3; trap "" TERM; signal=TERM; n=0; ` +
	`while [ "$n" -lt 70 ] && { kill -s "$signal" -- "-$job" || kill -s "$signal" "$job"; }; do ` +
	`sleep 0.1 || { sleep 1; n=$((n + 9)); }; ` +
	`n=$((n + 1)); signal=0; [ "$n" -lt 50 ] || signal=KILL; ` +
	`done; } >/dev/null 2>&1 & watch=$! ; ` +
	`exec 3<&-; ` +
	// A watch that is stopping the program ignores this signal and is waited
	// for, so that the end of the wrapper is the end of them all.
	`wait "$job" 2>/dev/null; status=$?; ` +
	`kill "$watch" 2>/dev/null; wait "$watch" 2>/dev/null; exit "$status"`

// wrapperHead reads the program. Nothing of what comes behind it in the stream is sent
// before the program has said something: some shells read ahead.
const wrapperHead = "" +
	// A variable that came from the environment would go back into it.
	`unset size mark program job watch status signal n; ` +
	`[ "$(id -u)" = 0 ] || { echo "` + notRoot + `" >&2; exit 125; }; ` +
	// Only a printf that is built in keeps the program out of the list of processes.
	`[ "$(command -v printf)" = printf ] || { echo "` + notAShell + `" >&2; exit 125; }; ` +
	`echo "` + ready + `" >&2; ` +
	// Where the mark is missing, the connection was cut: nothing may run.
	`read -r size mark || exit 125; ` +
	`program=$(head -c "$size"); ` +
	`case $program in *"$mark") ;; *) exit 125 ;; esac; `

// feedWrapper is the wrapper of a program that reads what comes behind it, from its
// file descriptor 3. The end of that is what stops it.
const feedWrapper = wrapperHead +
	`exec 3<&0 </dev/null; ` +
	`printf %s "${program%"$mark"}" | /bin/sh -s`

// What the wrapper says for itself, each in a line on standard error.
const (
	ready     = "provision: the shell is ready"
	notRoot   = "provision: the shell is not root"
	notAShell = "provision: printf is no part of /bin/sh"
)

const readyLine = ready + "\n"

// command returns the command line for the login shell. With a prompt, sudo
// reads a password after it has printed that.
func command(b Become, prompt, wrapper string) string {
	shell := "/bin/sh -c '" + wrapper + "'"
	switch {
	case b == Sudo && prompt != "":
		return "exec sudo -S -p " + prompt + " -- " + shell
	case b == Sudo:
		return "exec sudo -n -- " + shell
	case b == Doas:
		return "exec doas -n " + shell
	}
	return "exec " + shell
}

// A BecomeError tells that there was no root shell: nothing has run.
type BecomeError struct {
	Become Become
	Stderr string // what the host said, in one visible line
	reason string
	hint   string
}

func (e *BecomeError) Error() string {
	text := e.reason
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

// Hint implements [hint.Error].
func (e *BecomeError) Hint() string { return e.hint }

// becomeError explains what the host said instead of starting the wrapper: sudo,
// and the sudo-rs that takes its place in newer distributions, or doas.
func (c *Conn) becomeError(status int, stderr string) error {
	e := &BecomeError{Become: c.become, Stderr: stderr}
	says := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(stderr, word) {
				return true
			}
		}
		return false
	}
	missing := status == 127 || says("not found", "No such file", "Unknown command")
	e.reason = fmt.Sprintf("no root shell by %s (exit status %d)", c.become, status)
	switch {
	case says(notRoot) && (c.become == Sudo || c.become == Doas):
		e.reason, e.Stderr = fmt.Sprintf("%s did not make the user root", c.become), ""
		e.hint = "let it run commands as root, not as another user"
	case says(notRoot):
		e.reason, e.Stderr = "the user is not root, and become is none", ""
		e.hint = `write become = "sudo" or become = "doas", or log in as root`
	case says(notAShell):
		e.reason, e.Stderr = "/bin/sh of this host has no printf of its own, so programs cannot be kept out of its list of processes", ""
		e.hint = "make /bin/sh a dash, a bash or a busybox"
	case c.become == Sudo && missing:
		e.hint = `install sudo, or write become = "doas", or log in as root`
	case c.become == Sudo && says("must have a tty"):
		e.hint = "sudoers(5) has requiretty; add a line: Defaults:USER !requiretty"
	case c.become == Sudo && says("not in the sudoers", "may not run", "not allowed to", "I'm afraid I can't do that"):
		e.hint = "let this user run /bin/sh as root, see sudoers(5)"
	case c.become == Sudo && says("a password is required", "password was provided", "incorrect password", "authentication is required", "incorrect authentication", "required to authenticate"):
		e.hint = "name the password of sudo as become_password of the host, or add a line to sudoers(5): USER ALL=(root) NOPASSWD: ALL"
	case c.become == Doas && missing:
		e.hint = `install doas, or write become = "sudo", or log in as root`
	case c.become == Doas && says("uthentication required", "uthorization required", "a tty is required"):
		e.hint = "doas reads passwords only from a terminal; add a line to doas.conf(5): permit nopass USER as root"
	case c.become == Doas && says("not permitted", "not enabled"):
		e.hint = "let this user in, in doas.conf(5): permit nopass USER as root"
	case c.become == None || c.become == "":
		e.reason = fmt.Sprintf("no shell (exit status %d)", status)
		e.hint = "a login shell that runs commands, and /bin/sh, are needed"
	}
	return e
}

var errRefused = hint.Add(errors.New("sudo refused the password; it is not tried again, because some systems lock an account after a few wrong ones"),
	"it is the password of the user who logs in: from become_password of the inventory, or typed")
