package access

import (
	"fmt"
	"io"
	"strings"
)

// A node is a card of a graph.
type node struct {
	Card
	id string
}

// graph returns the cards of a map by column, and which leads to which. Where
// ways begin and where they end, they share cards; between, each keeps to its
// own, so that none seems to lead to the command of another.
func (m Map) graph() (columns [len(Columns)][]*node, edges [][2]*node) {
	total := 0
	find := func(column int, c Card) *node {
		if column == 0 || column == len(Columns)-1 {
			for _, n := range columns[column] {
				if n.equal(c) {
					return n
				}
			}
		}
		total++
		n := &node{c, fmt.Sprintf("n%d", total)}
		columns[column] = append(columns[column], n)
		return n
	}
	for _, p := range m.Paths {
		from := find(0, p[0])
		for i, c := range p[1:] {
			to := find(i+1, c)
			edges = append(edges, [2]*node{from, to})
			from = to
		}
	}
	return columns, edges
}

// Mermaid writes the map as a diagram that GitLab draws in its own pages, in
// a block of code that is called mermaid.
func (m Map) Mermaid(w io.Writer) error {
	columns, edges := m.graph()
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, column := range columns {
		fmt.Fprintf(&b, "  subgraph c%d [%s]\n", i, mermaidText(Columns[i].Name+", "+Columns[i].What))
		for _, n := range column {
			fmt.Fprintf(&b, "    %s[%s]\n", n.id, mermaidText(n.text()...))
		}
		b.WriteString("  end\n")
	}
	for _, e := range edges {
		fmt.Fprintf(&b, "  %s --> %s\n", e[0].id, e[1].id)
	}
	fmt.Fprintf(&b, "  admin[%s]\n", mermaidText(m.Admin.text()...))
	_, err := io.WriteString(w, b.String())
	return err
}

// mermaidText makes a label of some lines. What means something to Mermaid, to
// Markdown or to HTML is written as the number of its character.
func mermaidText(lines ...string) string {
	var b strings.Builder
	for i, line := range lines {
		if i > 0 {
			b.WriteString("<br/>")
		}
		for _, r := range line {
			switch {
			case strings.ContainsRune("\"#&<>;`*_~\\[]{}()|%$", r):
				fmt.Fprintf(&b, "#%d;", r)
			default:
				b.WriteRune(r)
			}
		}
	}
	return `"` + b.String() + `"`
}

// Dot writes the map for Graphviz.
func (m Map) Dot(w io.Writer) error {
	columns, edges := m.graph()
	var b strings.Builder
	b.WriteString("digraph access {\n  rankdir=LR\n  ranksep=0.8\n  node [shape=box style=rounded fontname=\"sans-serif\" fontsize=11]\n")
	for i, column := range columns {
		fmt.Fprintf(&b, "  subgraph cluster%d {\n    label=%s color=gray80 fontname=\"sans-serif\" fontsize=12\n", i, dotText(Columns[i].Name, Columns[i].What))
		for _, n := range column {
			fmt.Fprintf(&b, "    %s [label=%s]\n", n.id, dotText(n.text()...))
		}
		b.WriteString("  }\n")
	}
	for _, e := range edges {
		fmt.Fprintf(&b, "  %s -> %s\n", e[0].id, e[1].id)
	}
	fmt.Fprintf(&b, "  admin [label=%s]\n}\n", dotText(m.Admin.text()...))
	_, err := io.WriteString(w, b.String())
	return err
}

var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;", "<", "&lt;", ">", "&gt;")

// dotText makes a label of some lines. Graphviz reads entities of HTML.
func dotText(lines ...string) string {
	for i := range lines {
		lines[i] = dotEscapes.Replace(lines[i])
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}
