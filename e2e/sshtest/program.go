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

// A word is a mark, or the beginning of a job. What a user runs is a program in
// quotes, with a mark of its own.
var word = regexp.MustCompile(`(?:mark=|printf )('(?:\\'')?)(?:(@[0-9a-f]{32})|%s begin ([0-9]+)\\n)`)

// Bare answers every look as a host where nothing was ever made. Every probe
// reports facts, as "KEY=VALUE", and nothing else.
func Bare(facts ...string) func(program []byte) []byte {
	return func(program []byte) []byte {
		var out bytes.Buffer
		marks, had := map[string]string{}, map[string]bool{}
		for _, m := range word.FindAllSubmatch(program, -1) {
			quotes, n := string(m[1]), string(m[3])
			if n == "" {
				marks[quotes] = string(m[2])
				continue
			}
			if had[n] { // a job has two beginnings, where it may not be run at all
				continue
			}
			mark := marks[quotes]
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
