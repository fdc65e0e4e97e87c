package sshtest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
)

// ReadProgram reads what a shell of the program under test is given: the
// length and the end of a program in a line, and the program.
func ReadProgram(in io.Reader) (program []byte, err error) {
	r := bufio.NewReader(in)
	var size int
	var end string
	line, err := r.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &size, &end)
	}
	if err != nil {
		return nil, err
	}
	program = make([]byte, size)
	_, err = io.ReadFull(r, program)
	return program, err
}

// Ready is what the shell says on standard error before it reads a program.
const Ready = "provision: the shell is ready\n"

// Programs answers every program with what answer makes of it.
func Programs(answer func(program []byte) []byte) Answer {
	return func(_ string, in io.Reader, out, stderr io.Writer) uint32 {
		if _, err := io.WriteString(stderr, Ready); err != nil {
			return 1
		}
		program, err := ReadProgram(in)
		if err != nil {
			return 125
		}
		if _, err := out.Write(answer(program)); err != nil {
			return 1
		}
		return 0
	}
}

const markLength = len("@") + 32

// marks calls f with each mark in a program or its answer, and what is before
// it. It returns the rest.
func marks(text []byte, f func(before, mark []byte)) (rest []byte) {
	start := 0
	for i := 0; i+markLength <= len(text); i++ {
		n := bytes.IndexByte(text[i:], '@')
		if n < 0 || i+n+markLength > len(text) {
			break
		}
		i += n
		mark := text[i : i+markLength]
		if bytes.ContainsFunc(mark[1:], func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) {
			continue
		}
		f(text[start:i], mark)
		start = i + markLength
		i = start - 1
	}
	return text[start:]
}

// Marks returns the marks of a program or of its answer, each once, in the
// order of their first appearance.
func Marks(text []byte) []string {
	var all []string
	had := map[string]bool{}
	marks(text, func(_, mark []byte) {
		if !had[string(mark)] {
			had[string(mark)] = true
			all = append(all, string(mark))
		}
	})
	return all
}

// Replay answers as another program of the same steps was answered: only the
// marks are new. Of the hosts that it stands for it takes none of the work.
func Replay(recorded, answer []byte) func(program []byte) []byte {
	old := Marks(recorded)
	return func(program []byte) []byte {
		renamed := map[string]string{}
		for i, m := range Marks(program) {
			if i < len(old) {
				renamed[old[i]] = m
			}
		}
		var out bytes.Buffer
		out.Write(marks(answer, func(before, mark []byte) {
			out.Write(before)
			if to, ok := renamed[string(mark)]; ok {
				mark = []byte(to)
			}
			out.Write(mark)
		}))
		return out.Bytes()
	}
}

var word = regexp.MustCompile(`mark='?\\?'*(@[0-9a-f]{32})|begin ([0-9]+)\\n`)

// Bare answers every look as a host where nothing was ever made. Every probe
// reports facts, as "KEY=VALUE", and nothing else.
func Bare(facts ...string) func(program []byte) []byte {
	return func(program []byte) []byte {
		var out bytes.Buffer
		mark, had := "", map[string]bool{}
		for _, m := range word.FindAllSubmatch(program, -1) {
			n := string(m[2])
			if n == "" {
				mark = string(m[1])
				continue
			}
			if had[n] { // a job has two beginnings, where it may not be run at all
				continue
			}
			fmt.Fprintf(&out, "%s begin %s\n", mark, n)
			for _, fact := range facts {
				fmt.Fprintf(&out, "%s fact %s\n", mark, fact)
			}
			fmt.Fprintf(&out, "%s end %s 0\n", mark, n)
			had[n] = true
		}
		return out.Bytes()
	}
}
