package sshconfig

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Asking ssh -G costs a process, and for many hosts more than logging in to
// them. Its answers differ only where the files of ssh_config(5) tell hosts
// apart, so it is asked once for all hosts that the same Host lines match.

// settings returns what ssh -G prints for a host.
func (c *Config) settings(ctx context.Context, ssh, alias string, given Given) ([]byte, error) {
	c.read.Do(c.readHostLines)
	if !c.alike || !plainName(alias) {
		return c.askSSH(ctx, ssh, alias, given)
	}
	matching, apart := c.lines.matching(alias)
	if apart {
		return c.askSSH(ctx, ssh, alias, given)
	}
	printed, err := c.answers.Get(ctx, matching, func(ctx context.Context) ([]byte, error) { return c.askSSH(ctx, ssh, alias, Given{}) })
	if err != nil {
		return nil, err
	}
	own := map[string]string{"host": alias, "hostname": alias}
	if given.User != "" {
		own["user"] = given.User
	}
	if given.Port != 0 {
		own["port"] = strconv.Itoa(given.Port)
	}
	var b bytes.Buffer
	for line := range bytes.Lines(printed) {
		key, _, _ := strings.Cut(string(line), " ")
		if value, ok := own[key]; ok {
			line = []byte(key + " " + value + "\n")
		}
		b.Write(line)
	}
	return b.Bytes(), nil
}

// plainName reports whether ssh(1) takes an address for a name or an IP
// address, and nothing else.
func plainName(address string) bool {
	if _, err := netip.ParseAddr(address); err == nil {
		return !strings.Contains(address, "%")
	}
	return !strings.ContainsAny(address, "@:/[]")
}

// hostLines are the Host lines of ssh_config(5).
type hostLines []hostLine

type hostLine struct {
	patterns []string
	apart    bool // what follows is not the same for all hosts that match
}

// matching says which of the lines match a host, and whether one of them sets
// it apart from others.
func (l hostLines) matching(host string) (lines string, apart bool) {
	match := make([]byte, len(l))
	for i := range l {
		match[i] = '-'
		if l[i].matches(host) {
			match[i] = '+'
			apart = apart || l[i].apart
		}
	}
	return string(match), apart
}

func (l hostLine) matches(host string) bool {
	matches := false
	for _, p := range l.patterns {
		p, not := strings.CutPrefix(p, "!")
		if wild(p, host) {
			if not {
				return false
			}
			matches = true
		}
	}
	return matches
}

// wild matches a pattern with * and ?.
func wild(pattern, name string) bool {
	for i, c := range []byte(pattern) {
		switch {
		case c == '*':
			for j := range len(name) + 1 {
				if wild(pattern[i+1:], name[j:]) {
					return true
				}
			}
			return false
		case name == "" || c != '?' && c != name[0]:
			return false
		}
		name = name[1:]
	}
	return name == ""
}

// readHostLines reads the files that ssh(1) reads. They make hosts alike unless
// they have what tells these apart in other ways than by a Host line, or what
// is not understood here.
func (c *Config) readHostLines() {
	c.chooses = true
	me, err := user.LookupId(strconv.Itoa(os.Getuid())) // ssh(1) does not look at $HOME
	if err != nil {
		return
	}
	r := configReader{home: me.HomeDir}
	own := filepath.Join(me.HomeDir, ".ssh")
	if c.File != "" {
		err = r.read(c.File, own, -1)
	} else {
		err = errors.Join(r.read(filepath.Join(own, "config"), own, -1), r.read("/etc/ssh/ssh_config", "/etc/ssh", -1))
	}
	c.lines, c.alike = r.lines, err == nil
	c.chooses = !c.alike || r.chooses
}

type configReader struct {
	home    string
	lines   hostLines
	chooses bool // there is a keyword for algorithms
	depth   int
}

var errApart = errors.New("hosts differ in more than Host lines")

// read reads a file; what it includes is relative to dir. The beginning belongs
// to the Host line of that number, or to none.
func (r *configReader) read(file, dir string, line int) error {
	if r.depth++; r.depth > 16 { // as many as ssh(1) reads
		return errApart
	}
	defer func() { r.depth-- }()
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for text := range strings.Lines(string(text)) {
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		words := strings.Fields(strings.Replace(text, "=", " ", 1))
		key := strings.ToLower(words[0])
		r.chooses = r.chooses || slices.Contains(algorithmKeywords, key)
		strange := strings.ContainsAny(text, `%"'\#`) // tokens, and quotation
		switch {
		case key == "match", strings.HasPrefix(key, "canonical"), strange && (key == "host" || key == "include" || key[0] == '"'):
			return errApart
		case key == "host":
			line = len(r.lines)
			r.lines = append(r.lines, hostLine{patterns: words[1:]})
		case key == "include":
			for _, pattern := range words[1:] {
				if err := r.include(pattern, dir, line); err != nil {
					return err
				}
			}
		case key == "hostname", strange && key != "controlpath": // no connection is shared with ssh(1)
			if line < 0 {
				return errApart
			}
			r.lines[line].apart = true
		}
	}
	return nil
}

func (r *configReader) include(pattern, dir string, line int) error {
	if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
		pattern = filepath.Join(r.home, rest)
	} else if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(dir, pattern)
	}
	if strings.ContainsAny(pattern, "~$") {
		return errApart
	}
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := r.read(file, dir, line); err != nil {
			return err
		}
	}
	return nil
}
