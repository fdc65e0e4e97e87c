package provision

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"provision/provision/visible"
	"provision/templates"
)

// A job is one script of a program: a change, or a probe.
type job struct {
	script Script
	probe  bool
	log    string // what the host logs when it is done; "": nothing
	apart  bool   // why it fails is the fact "why", and none of its lines: see Follow
}

// A program is the text of some jobs, and what tells their lines from others
// when the host answers.
type program struct {
	text  []byte
	marks map[string]span // by a mark and the space behind it
	jobs  []job

	before []Script
	mark   string         // of the whole program
	inner  map[int]string // the marks of programs in it, by their first job
	shown  bool           // being written to be shown

	trace func(sent bool, line string)

	endless bool // it may say as much as it likes: see Follow

	digest string // of an installed program: what the gate has to tell first
	proved bool   // it did
}

// A span is the jobs that a mark may speak of: a program inside the program
// runs as another user, who could forge what its own mark says, but nothing
// about the jobs of others.
type span struct{ from, to int }

// newProgram writes jobs as one shell program. After a change that fails,
// nothing else is run.
//
// A script in before is run first, without a word; if it fails, so does the
// program, before any job.
func newProgram(jobs []job, before ...Script) (*program, error) {
	p := &program{marks: map[string]span{}, jobs: jobs, before: before, mark: newMark(), inner: map[int]string{}}
	p.marks[p.mark+" "] = span{0, len(jobs)}
	var err error
	p.text, err = p.write(jobs, 0, "", "'"+p.mark+"'", before...)
	return p, err
}

// redacted is the text of the program with "(secret)" for each secret. It is
// not made from that text, but as that is: none of the secrets is looked at.
func (p *program) redacted() string {
	p.shown = true
	defer func() { p.shown = false }()
	text, _ := p.write(p.jobs, 0, "", "'"+p.mark+"'", p.before...)
	return string(text)
}

// hide takes the secrets of a program out of what the host says, which may be
// the program itself.
func (p *program) hide(line string) string {
	for _, j := range p.jobs {
		if j.script.Secret.IsZero() {
			continue
		}
		text, err := j.script.Secret.Reveal()
		if err != nil {
			continue
		}
		for part := range strings.Lines(text) {
			if part = strings.TrimSpace(part); len(part) >= 8 {
				line = strings.ReplaceAll(line, part, fmt.Sprint(j.script.Secret))
			}
		}
	}
	return line
}

// send traces what the host is sent.
func (p *program) send(trace func(sent bool, line string)) {
	if p.trace = trace; trace != nil && p.text != nil {
		trace(true, p.redacted())
	}
}

// ownDocker has root ask the Docker of this host, and have Compose read no file but what
// it is told to, whatever its environment or the context of its docker(1) says. Others ask
// in an environment of their own, see as in the prelude.
const ownDocker = `unset DOCKER_CONTEXT DOCKER_CONFIG DOCKER_API_VERSION DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_DEFAULT_PLATFORM
unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PROFILES COMPOSE_ENV_FILES COMPOSE_DISABLE_ENV_FILE COMPOSE_REMOVE_ORPHANS COMPOSE_DRY_RUN
DOCKER_HOST=unix:///var/run/docker.sock
export DOCKER_HOST
`

// write writes the program of one user; jobs are numbered from first on, and
// mark is a word of the shell.
func (p *program) write(jobs []job, first int, user, mark string, before ...Script) ([]byte, error) {
	var head, body bytes.Buffer
	texts := map[string]string{}
	function := func(text string) string {
		name, ok := texts[text]
		if !ok {
			name = "script" + strconv.Itoa(len(texts))
			texts[text] = name
			fmt.Fprintf(&head, "%s() {\n%s\n}\n", name, strings.TrimSpace(text))
		}
		return name
	}
	for _, s := range before {
		call, err := callOf(function(s.Text), s.Args)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&body, "%s </dev/null >/dev/null 2>&1 || return\n", call)
	}
	look := len(jobs) // where the probes begin that are the end
	for look > 0 && jobs[look-1].probe {
		look--
	}
	var probes [][]byte
	for i := 0; i < len(jobs); {
		end := i + 1
		for end < len(jobs) && end != look && jobs[end].script.User == jobs[i].script.User {
			end++
		}
		var part bytes.Buffer
		if err := p.writePart(&part, jobs[i:end], first+i, user, function); err != nil {
			return nil, err
		}
		if i < look {
			body.Write(part.Bytes())
		} else {
			probes = append(probes, part.Bytes())
		}
		i = end
	}
	body.Write(sideBySide(probes))

	var b bytes.Buffer
	b.WriteString("provision() {\n")
	b.WriteString("unset mark failed _secret\n") // one that came with the environment would be passed on
	fmt.Fprintf(&b, "mark=%s failed='' _secret=''\n", mark)
	if user == "" {
		b.WriteString("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C\n")
		b.WriteString("export PATH LC_ALL\nunset IFS ENV BASH_ENV CDPATH\numask 022\ncd / || exit\n")
		b.WriteString(ownDocker)
	} else {
		b.WriteString("umask 022\nif ! cd 2>/dev/null; then\n")
		writeSkip(&b, jobs, first, `"the home $HOME cannot be entered"`)
		b.WriteString("[ -z \"$failed\" ]\nreturn\nfi\n")
	}
	b.WriteString(templates.Prelude)
	b.Write(head.Bytes())
	b.Write(body.Bytes())
	b.WriteString("[ -z \"$failed\" ]\n}\nprovision \"$@\"\n")
	return b.Bytes(), nil
}

// writePart writes jobs of one user into the program of another, or the same.
func (p *program) writePart(b *bytes.Buffer, jobs []job, first int, user string, function func(text string) string) error {
	if jobs[0].script.User == user {
		for i, j := range jobs {
			if err := p.writeJob(b, j, first+i, function(j.script.Text)); err != nil {
				return err
			}
		}
		return nil
	}
	mark := p.inner[first]
	if mark == "" {
		mark = newMark()
		p.marks[mark+" "] = span{first, first + len(jobs)}
		p.inner[first] = mark
	}
	inner, err := p.write(jobs, first, jobs[0].script.User, "'"+mark+"'")
	if err != nil {
		return err
	}
	writeAs(b, jobs, first, inner)
	return nil
}

// sideBySide has parts that only look run at the same time, for nothing that one of
// them does changes what another one sees. What each prints waits in a pipe, so
// that it comes in their order.
func sideBySide(parts [][]byte) []byte {
	if len(parts) < 2 {
		return bytes.Join(parts, nil)
	}
	var b bytes.Buffer
	all := ""
	for i, part := range parts {
		fmt.Fprintf(&b, "look%d() {\n%s}\n", i, part)
		if i == 0 {
			all = "look0"
		} else {
			all = fmt.Sprintf("look%d </dev/null | { %s; cat; }", i, all)
		}
	}
	b.WriteString(all + "\n")
	return b.Bytes()
}

// onSignal has what a script traps on EXIT run where a signal ends it as well. A
// lost connection shows as PIPE: the shell tells how its commands died.
const onSignal = "trap 'exit 1' HUP INT PIPE TERM"

// failApart takes the place of fail.
const failApart = "fail() {\nfact why \"$1\"\nexit 1\n}\n"

// The subshell of a script is a command of its own: as a condition, or before
// ||, the shell would ignore set -e inside it.
func (p *program) writeJob(b *bytes.Buffer, j job, n int, function string) error {
	b.WriteString("if [ -z \"$failed\" ]; then\n")
	fmt.Fprintf(b, "printf '%%s begin %d\\n' \"$mark\"\n(set -eu\n%s\n", n, onSignal)
	if j.apart {
		b.WriteString(failApart)
	}
	if !j.script.Secret.IsZero() {
		text, err := fmt.Sprint(j.script.Secret), error(nil)
		if !p.shown {
			text, err = j.script.Secret.Reveal()
		}
		if err != nil {
			return err
		}
		quoted, err := quote(text)
		if err != nil {
			return errors.New("the secret cannot stand in a shell script: it has a NUL byte")
		}
		fmt.Fprintf(b, "_secret=%s\n", quoted)
	}
	call, err := callOf(function, j.script.Args)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "%s\n) </dev/null 2>&1\nstatus=$?\nprintf '%%s end %d %%s\\n' \"$mark\" \"$status\"\n", call, n)
	if !j.probe {
		b.WriteString("[ \"$status\" = 0 ] || failed=1\n")
	}
	if j.script.User == "" {
		writeLog(b, []job{j})
	}
	b.WriteString("fi\n")
	return nil
}

// writeLog has root log some jobs that ran one after the other, as another user
// could log anything. Of several that ran as such a user, root knows only whether
// all are done.
func writeLog(b *bytes.Buffer, jobs []job) {
	var done, failed bytes.Buffer
	logged := slices.DeleteFunc(slices.Clone(jobs), func(j job) bool { return j.log == "" })
	outcome := "failed: "
	if len(logged) > 1 {
		outcome = "failed, or one beside it: "
	}
	for _, j := range logged {
		line, _ := quote(visible.String(j.log))
		fmt.Fprintf(&done, "log %s\n", line)
		fmt.Fprintf(&failed, "log '%s'%s\n", outcome, line)
	}
	if len(logged) > 0 {
		fmt.Fprintf(b, "if [ -z \"$failed\" ]; then\n%selse\n%sfi\n", &done, &failed)
	}
}

// callOf calls a function with arguments.
func callOf(function string, args []string) (string, error) {
	for _, a := range args {
		quoted, err := quote(a)
		if err != nil {
			return "", err
		}
		function += " " + quoted
	}
	return function, nil
}

// writeAs wraps the program of another user.
func writeAs(b *bytes.Buffer, jobs []job, first int, inner []byte) {
	user, _ := quote(jobs[0].script.User)
	text, _ := quote(string(inner))
	b.WriteString("if [ -z \"$failed\" ]; then\n")
	fmt.Fprintf(b, "if getent passwd %s >/dev/null; then\nas %s %s || failed=1\nelse\n", user, user, text)
	writeSkip(b, jobs, first, "'the user '"+user+"' does not exist'")
	b.WriteString("fi\n")
	writeLog(b, jobs)
	b.WriteString("fi\n")
}

// writeSkip answers for jobs that cannot run: probes end having seen nothing,
// and a change fails for a reason, which is a word of the shell.
func writeSkip(b *bytes.Buffer, jobs []job, first int, reason string) {
	for i, j := range jobs {
		fmt.Fprintf(b, "printf '%%s begin %d\\n' \"$mark\"\n", first+i)
		if !j.probe {
			line := "'%s\\n'"
			if j.apart {
				line = `'%s fact why=%s\n' "$mark"`
			}
			fmt.Fprintf(b, "printf %s %s\nprintf '%%s end %d 1\\n' \"$mark\"\nfailed=1\n", line, reason, first+i)
			return
		}
		fmt.Fprintf(b, "printf '%%s end %d 0\\n' \"$mark\"\n", first+i)
	}
}

// quote makes one word of a POSIX shell out of s. It is the only place where
// data becomes part of a program.
func quote(s string) (string, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return "", fmt.Errorf("%q has a NUL byte, which no shell can hold", s)
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'", nil
}

func newMark() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return "@" + hex.EncodeToString(b[:])
}
