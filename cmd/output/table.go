package output

import (
	"strings"

	"golang.org/x/term"
)

// Table prints rows of visible cells, each column as wide as its widest cell. The
// first row is the head. Where a terminal is too narrow for that, each row is a few
// lines, with a cell each.
func (r *Report) Table(rows [][]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := table(rows)
	if terminal := TerminalOf(r.Out); terminal != nil {
		if columns, _, err := term.GetSize(int(terminal.Fd())); err == nil && !fits(text, columns) {
			text = list(rows)
		}
	}
	r.print(r.Out, text)
}

func table(rows [][]string) (text string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], wide(cell))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-wide(cell)+2)
		}
		text += strings.TrimRight(line, " ") + "\n"
	}
	return text
}

// list writes a row as its first two cells, and below them each of the others that says
// something, with its head.
func list(rows [][]string) (text string) {
	for _, row := range rows[1:] {
		text += strings.Join(row[:2], ": ") + "\n"
		for i, cell := range row[2:] {
			if cell != "-" {
				text += "  " + rows[0][i+2] + ": " + cell + "\n"
			}
		}
	}
	return text
}

func fits(text string, columns int) bool {
	for line := range strings.Lines(text) {
		if wide(strings.TrimSuffix(line, "\n")) > columns {
			return false
		}
	}
	return true
}

// wide is how many columns a cell takes.
func wide(cell string) (n int) {
	for _, c := range unpainted(cell) {
		n += columns(c)
	}
	return n
}
