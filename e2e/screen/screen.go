// Package screen is a terminal for tests: a program writes to it as to any
// other, and what is to be seen can be read, or drawn as an SVG.
package screen

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// A Screen shows what was written to it: as much of what terminals understand as
// the program uses. It scrolls without an end, and a rune takes one column.
type Screen struct {
	mu      sync.Mutex
	width   int
	rows    []row
	x, y    int
	style   string // the parameters of the last SGR
	pending []byte // the beginning of something that is not over
	unknown []string
	marks   chan struct{}
}

type row struct {
	cells   []cell
	wrapped bool // it goes on in the next row
}

type cell struct {
	r     rune
	style string
}

// New returns an empty screen of so many columns.
func New(width int) *Screen {
	return &Screen{width: width, rows: make([]row, 1), marks: make(chan struct{})}
}

// Write implements [io.Writer].
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := append(s.pending, p...)
	for len(text) > 0 {
		n := s.take(text)
		if n == 0 {
			break
		}
		text = text[n:]
	}
	s.pending = text
	return len(p), nil
}

// take does what the beginning of a text says, and returns how long that is; 0
// if it is not all there.
func (s *Screen) take(text []byte) int {
	switch c := text[0]; {
	case c == '\r':
		s.x = 0
	case c == '\n':
		s.down()
	case c == '\x1b':
		if len(text) < 2 {
			return 0
		}
		if text[1] != '[' {
			s.unknown = append(s.unknown, string(text[:2]))
			return 2
		}
		for i := 2; i < len(text); i++ {
			if text[i] >= '@' {
				s.control(string(text[2:i]), text[i])
				return i + 1
			}
		}
		return 0
	case c < ' ' || c == 0x7f:
		s.unknown = append(s.unknown, string(text[:1]))
	default:
		if !utf8.FullRune(text) {
			return 0
		}
		r, n := utf8.DecodeRune(text)
		s.put(r)
		return n
	}
	return 1
}

func (s *Screen) down() {
	if s.y++; s.y == len(s.rows) {
		s.rows = append(s.rows, row{})
	}
}

func (s *Screen) put(r rune) {
	if s.x == s.width {
		s.rows[s.y].wrapped = true
		s.down()
		s.x = 0
	}
	cells := s.rows[s.y].cells
	for len(cells) <= s.x {
		cells = append(cells, cell{r: ' '})
	}
	cells[s.x] = cell{r, s.style}
	s.rows[s.y].cells = cells
	s.x++
}

func (s *Screen) control(parameters string, final byte) {
	clear := func() {
		r := &s.rows[s.y]
		r.cells, r.wrapped = r.cells[:min(len(r.cells), s.x)], false
	}
	switch final {
	case 'm':
		s.style = strings.Trim(parameters, "0")
	case 'K':
		clear()
	case 'J':
		if s.x == 0 && s.y == 0 {
			s.unknown = append(s.unknown, "the whole screen is erased, which some terminals keep above it")
		}
		clear()
		s.rows = s.rows[:s.y+1]
	case '~':
		close(s.marks)
		s.marks = make(chan struct{})
	case 'A':
		n := 0
		for _, c := range parameters {
			n = n*10 + int(c-'0')
		}
		s.y = max(0, s.y-max(n, 1))
	default:
		s.unknown = append(s.unknown, "\x1b["+parameters+string(final))
	}
}

// Resize gives the screen another width and wraps all lines anew, as most
// terminals do. The cursor stays with the character that it stands on.
func (s *Screen) Resize(width int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, y, x := s.rows, s.y, s.x
	s.width, s.rows = width, nil
	for i := 0; i < len(old); i++ {
		var line []cell
		at := -1 // of the cursor in the line
		for ; ; i++ {
			if i == y {
				at = len(line) + x
			}
			line = append(line, old[i].cells...)
			if !old[i].wrapped {
				break
			}
		}
		first := len(s.rows)
		for len(line) > width {
			s.rows = append(s.rows, row{line[:width:width], true})
			line = line[width:]
		}
		s.rows = append(s.rows, row{cells: line})
		if at >= 0 {
			s.y, s.x = min(first+at/width, len(s.rows)-1), at%width
		}
	}
}

// String returns what is to be seen, without blanks at the end.
func (s *Screen) String() string { return s.text("\n") }

// Lines returns the lines that were written, however wide the screen is.
func (s *Screen) Lines() []string { return strings.Split(s.text(""), "\n") }

func (s *Screen) text(wrap string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, r := range s.rows {
		var line strings.Builder
		for _, c := range r.cells {
			line.WriteRune(c.r)
		}
		if r.wrapped {
			b.WriteString(line.String() + wrap)
		} else {
			b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// Unknown returns what was written that no terminal is sure to understand, or
// this one does not.
func (s *Screen) Unknown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unknown
}
