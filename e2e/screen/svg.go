package screen

import (
	"fmt"
	"html"
	"strings"
)

// What a character takes, in pixels.
const (
	columnWidth = 8.43
	lineHeight  = 19
	margin      = 16
)

// SVG draws what is to be seen. The fonts are those of the reader, so every
// piece of a line is told where it begins and how wide it is.
func (s *Screen) SVG(title string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.rows
	for len(rows) > 0 && len(rows[len(rows)-1].cells) == 0 {
		rows = rows[:len(rows)-1]
	}
	wide, high := float64(s.width)*columnWidth+2*margin, len(rows)*lineHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" width="%.0f" height="%d" role="img" aria-label="%s">
<title>%[5]s</title>
<style>
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d6dbe1; white-space: pre }
.s1 { font-weight: bold; fill: #fff }
.s2 { fill: #8a949e }
.s31 { fill: #ff7b72 }
.s32 { fill: #7ee787 }
</style>
<rect width="100%%" height="100%%" rx="8" fill="#14181d"/>
`, wide, high, wide, high, html.EscapeString(title))
	for y, r := range rows {
		for from := 0; from < len(r.cells); {
			to := from
			var text strings.Builder
			for to < len(r.cells) && r.cells[to].style == r.cells[from].style {
				text.WriteRune(r.cells[to].r)
				to++
			}
			words := strings.TrimRight(text.String(), " ")
			if n := len([]rune(words)); n > 0 {
				class := ""
				if style := r.cells[from].style; style != "" {
					class = fmt.Sprintf(` class="s%s"`, style)
				}
				fmt.Fprintf(&b, `<text xml:space="preserve" x="%.2f" y="%d" textLength="%.2f"%s>%s</text>`+"\n",
					margin+float64(from)*columnWidth, margin+y*lineHeight+14, float64(n)*columnWidth, class, html.EscapeString(words))
			}
			from = to
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
