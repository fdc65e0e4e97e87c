package access

import (
	_ "embed"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Style is the style sheet of a map that stands in a page, see [Map.Inline]. It
// makes the map dark where the page is.
//
//go:embed map.css
var Style string

// SVG writes the map as an image of its own.
func (m Map) SVG(w io.Writer) error {
	_, err := io.WriteString(w, m.draw("<style>\n"+Style+"</style>\n"))
	return err
}

// Inline returns the map as an element for a page that has [Style].
func (m Map) Inline() string { return m.draw("") }

// looks are how the parts of a map are drawn where it is light; what has no look
// of its own is drawn as the whole. They stand at each part, since much that
// draws an SVG knows no style sheets, or little of them.
var looks = map[string]string{
	whole:    `fill="#5c606b" font-size="11.5" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"`,
	"ground": `fill="#f4f5f7"`,
	"card":   `fill="#ffffff" stroke="#c9ccd3"`,
	"way":    `fill="none" stroke="#5c606b" stroke-width="1.25"`,
	"head":   `fill="#1c1d21" font-size="12" font-weight="600"`,
	"kind":   `font-size="10.5"`,
	"name":   `fill="#1c1d21" font-size="12.5" font-weight="600"`,
	"stolen": `fill="#a3231b"`,
}

const whole = "access-map"

// look returns the attributes of a part.
func look(part string) string {
	if looks[part] == "" {
		return ""
	}
	return fmt.Sprintf(` class="%s" %s`, part, looks[part])
}

// Measures of the drawing, in pixels: it fits into the column of a page.
const (
	cardWidth   = 152
	columnGap   = 20
	rowGap      = 10
	padding     = 9
	margin      = 16
	headHeight  = 44
	radius      = 5
	kindHeight  = 15
	nameHeight  = 17
	lineHeight  = 15
	stolenSpace = 4
	maxLines    = 6 // of one text; more are cut off, and stand in the title
)

// A span is a card that stands once for neighbouring paths.
type span struct {
	drawn
	from, to int // rows, both included
}

// drawn is a card with its texts cut into lines.
type drawn struct {
	Card
	name, lines, stolen []string
}

func (c Card) cut() drawn {
	d := drawn{Card: c, name: wrap(c.Name, cardWidth-2*padding, 12.5*1.1)}
	for _, l := range c.Lines {
		d.lines = append(d.lines, wrap(l, cardWidth-2*padding, 11.5)...)
	}
	if c.Stolen != "" {
		d.stolen = wrap("if stolen: "+c.Stolen, cardWidth-2*padding, 11.5)
	}
	return d
}

func (d drawn) height() int {
	h := 2*padding + kindHeight + nameHeight*len(d.name) + lineHeight*len(d.lines) - 2
	if len(d.stolen) > 0 {
		h += stolenSpace + lineHeight*len(d.stolen)
	}
	return h
}

// spans joins the cards that neighbouring paths share. Arrows go straight from
// row to row, so a card that is shared does not mix up what leads where.
func (m Map) spans() (columns [len(Columns)][]span) {
	for i := range columns {
		for row, p := range m.Paths {
			last := len(columns[i]) - 1
			if last >= 0 && columns[i][last].equal(p[i]) {
				columns[i][last].to = row
				continue
			}
			columns[i] = append(columns[i], span{p[i].cut(), row, row})
		}
	}
	return columns
}

func (m Map) draw(style string) string {
	columns := m.spans()
	heights := make([]int, len(m.Paths))
	for _, column := range columns { // those of one row first, for the others to share
		for _, s := range column {
			if s.from == s.to {
				heights[s.from] = max(heights[s.from], s.height())
			}
		}
	}
	for _, column := range columns {
		for _, s := range column {
			have := rowGap * (s.to - s.from)
			for row := s.from; row <= s.to; row++ {
				have += heights[row]
			}
			for row := s.from; have < s.height(); row = s.from + (row+1-s.from)%(s.to-s.from+1) {
				heights[row]++
				have++
			}
		}
	}
	tops := make([]int, len(m.Paths)+1)
	tops[0] = margin + headHeight
	for row, h := range heights {
		tops[row+1] = tops[row] + h + rowGap
	}
	width := 2*margin + len(Columns)*cardWidth + (len(Columns)-1)*columnGap
	admin := m.Admin
	stolen := "if stolen: " + admin.Stolen
	bottom := tops[len(m.Paths)] + rowGap
	adminHeight := 2*padding + kindHeight + nameHeight
	height := bottom + adminHeight + margin

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg"%s viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="access-map-title access-map-desc">`+"\n", look(whole), width, height, width, height)
	fmt.Fprintf(&b, "<title id=\"access-map-title\">Who can do what</title>\n<desc id=\"access-map-desc\">%s</desc>\n", html.EscapeString(m.describe()))
	b.WriteString(style)
	fmt.Fprintf(&b, `<rect%s width="%d" height="%d" rx="%d"/>`+"\n", look("ground"), width, height, radius)
	left := func(column int) int { return margin + column*(cardWidth+columnGap) }
	bounds := func(s span) (top, bottom int) { return tops[s.from], tops[s.to+1] - rowGap }
	for i, head := range Columns {
		fmt.Fprintf(&b, `<text%s x="%d" y="%d">%s</text><text x="%d" y="%d">%s</text>`+"\n", look("head"), left(i), margin+12, head.Name, left(i), margin+28, head.What)
	}
	for i, column := range columns[:len(columns)-1] {
		for _, from := range column {
			for _, to := range columns[i+1] {
				first, last := max(from.from, to.from), min(from.to, to.to)
				if first > last {
					continue
				}
				x, y := left(i)+cardWidth, (tops[first]+tops[last+1]-rowGap)/2
				fmt.Fprintf(&b, `<path%s d="M%d %dh%d"/><path d="M%d %dl-7 -4v8z"/>`+"\n", look("way"), x, y, columnGap-5, x+columnGap-1, y)
			}
		}
	}
	for i, column := range columns {
		for _, s := range column {
			top, bottom := bounds(s)
			s.draw(&b, left(i), top, bottom-top, max(heights[s.from], s.height()))
		}
	}
	fmt.Fprintf(&b, `<g><rect%s x="%d" y="%d" width="%d" height="%d" rx="%d"/>`, look("card"), margin, bottom, width-2*margin, adminHeight, radius)
	fmt.Fprintf(&b, `<text%s x="%d" y="%d">not on the map</text>`, look("kind"), margin+padding, bottom+padding+10)
	fmt.Fprintf(&b, `<text%s x="%d" y="%d">%s</text>`, look("name"), margin+padding, bottom+padding+kindHeight+13, html.EscapeString(admin.Name))
	rest := width - 2*margin - cardWidth - columnGap - padding
	for i, l := range []string{strings.Join(admin.Lines, "; "), stolen} {
		part := ""
		if i == 1 {
			part = "stolen"
		}
		lines := wrap(l, rest, 11.5)
		if len(lines) > 1 {
			lines[0] += "…"
		}
		fmt.Fprintf(&b, `<text%s x="%d" y="%d">%s</text>`, look(part), left(1), bottom+padding+11+i*(lineHeight+2), html.EscapeString(lines[0]))
	}
	fmt.Fprintf(&b, "<title>%s</title></g>\n</svg>\n", html.EscapeString(strings.Join(admin.text(), "; ")))
	return b.String()
}

// draw draws one card, with its text in the middle of the first part of it.
func (s span) draw(b *strings.Builder, x, top, height, part int) {
	fmt.Fprintf(b, `<g><rect%s x="%d" y="%d" width="%d" height="%d" rx="%d"/>`, look("card"), x, top, cardWidth, height, radius)
	x += padding
	y := top + (part-s.height())/2 + padding + 9
	text := func(part, line string, step int) {
		fmt.Fprintf(b, `<text%s x="%d" y="%d">%s</text>`, look(part), x, y, html.EscapeString(line))
		y += step
	}
	text("kind", s.Kind, kindHeight+1)
	for _, line := range s.name {
		text("name", line, nameHeight)
	}
	for _, line := range s.lines {
		text("", line, lineHeight)
	}
	y += stolenSpace
	for _, line := range s.stolen {
		text("stolen", line, lineHeight)
	}
	fmt.Fprintf(b, "<title>%s</title></g>\n", html.EscapeString(strings.Join(s.text(), "; ")))
}

// describe tells the map to whoever does not see it.
func (m Map) describe() string {
	var b strings.Builder
	for _, p := range m.Paths {
		for i, c := range p {
			if i > 0 {
				b.WriteString(" → ")
			}
			b.WriteString(c.Kind + " " + c.Name)
			if c.Stolen != "" {
				b.WriteString(" (if stolen: " + c.Stolen + ")")
			}
		}
		b.WriteString(". ")
	}
	b.WriteString(strings.Join(m.Admin.text(), "; ") + ".")
	return b.String()
}

// What it costs to end a line inside a word: names stay whole where that takes
// one more line, and whatever is too wide for a line is cut somewhere.
const (
	lineCost   = 4
	splitCost  = 1  // behind a sign that parts a name
	hyphenCost = 6  // behind one that joins it
	anyCost    = 40 // anywhere
)

// wrap cuts a text into lines that are not wider than width, at most maxLines
// of them, in the way that costs least.
func wrap(text string, width int, size float64) []string {
	runes := []rune(text)
	end := len(runes)
	costs, ends := make([]int, end+1), make([]int, end+1) // of all from a place on, and of its first line
	for from := end - 1; from >= 0; from-- {
		costs[from] = math.MaxInt
		wide := 0.0
		for to := from + 1; to <= end; to++ {
			if wide += advance(runes[to-1]) * size; wide > float64(width) && to > from+1 {
				break
			}
			cost := lineCost + costs[to]
			switch {
			case to == end || runes[to] == ' ' || runes[to-1] == ' ':
			case strings.ContainsRune("/.@,:;", runes[to-1]):
				cost += splitCost
			case strings.ContainsRune("-_", runes[to-1]):
				cost += hyphenCost
			default:
				cost += anyCost
			}
			if cost <= costs[from] {
				costs[from], ends[from] = cost, to
			}
		}
	}
	var lines []string
	for from := 0; from < end; from = ends[from] {
		lines = append(lines, strings.TrimSpace(string(runes[from:ends[from]])))
	}
	if len(lines) > maxLines {
		lines = lines[:maxLines]
		lines[maxLines-1] += "…"
	}
	return lines
}

// advance guesses how wide a character is, where 1 is the size of the font. A
// guess that is too wide leaves some space.
func advance(r rune) float64 {
	switch {
	case strings.ContainsRune("ijl.,:;|'! ", r):
		return 0.34
	case strings.ContainsRune("ftr-/()[]", r):
		return 0.42
	case strings.ContainsRune("mwMW@%", r):
		return 0.94
	case r >= 'A' && r <= 'Z' || r == '_':
		return 0.7
	case r < 0x1100:
		return 0.6
	}
	return 1
}
