package output

import "strings"

// Table prints rows of visible cells, each column as wide as its widest cell. The
// first row is the head.
func (r *Report) Table(rows [][]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], wide(cell))
		}
	}
	text := ""
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-wide(cell)+2)
		}
		text += strings.TrimRight(line, " ") + "\n"
	}
	r.print(r.Out, text)
}

// wide is how many columns a cell takes.
func wide(cell string) (n int) {
	for _, c := range unpainted(cell) {
		n += columns(c)
	}
	return n
}
