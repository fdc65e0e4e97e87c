package cmd

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:            "man",
		Usage:           "print the manual page",
		UsageText:       "provision man",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("unexpected argument %q", c.Args().First())
			}
			writeMan(env.Stdout, c.App)
			return nil
		},
	}
}

// writeMan writes provision(1) as man(7) wants it. It says what the help does,
// in one page to search in.
func writeMan(w io.Writer, app *cli.App) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p(`.TH PROVISION 1 "" "provision %s" "User Commands"`, roff(version()))
	p(".SH NAME\nprovision \\- %s", roff(app.Usage))
	p(".SH SYNOPSIS\n.B provision\n.I COMMAND\n[flags]\n[\n.I INVENTORY\n]")
	p(".SH DESCRIPTION")
	p("%s", roff("An inventory is a TOML file that says which hosts there are, and what is deployed on them. "+
		"Flags stand before or after it."))
	for paragraph := range strings.SplitSeq(app.Description, "\n\n") {
		p(".PP\n%s", roff(strings.ReplaceAll(paragraph, "\n", " ")))
	}
	p(".SH COMMANDS")
	for _, c := range app.VisibleCommands() {
		p(".SS %s", roff(c.UsageText))
		p("%s.", roff(capital(c.Usage)))
		if c.Description != "" {
			p(".PP\n.nf\n%s\n.fi", roff(c.Description))
		}
		for _, f := range c.VisibleFlags() {
			if f.Names()[0] != "help" {
				manFlag(p, f)
			}
		}
		p(".PP\n.nf\n.RS 4")
		for _, e := range examples[c.Name] {
			p("$ %s", roff(e))
		}
		p(".RE\n.fi")
	}
	p(".SH EXIT STATUS")
	codes := exitCodes("")
	for _, c := range app.VisibleCommands() {
		if more := exits[c.Name]; more != "" {
			codes = append(codes, more+" ("+c.Name+")")
		}
	}
	for _, code := range codes {
		number, meaning, _ := strings.Cut(code, "  ")
		p(".TP\n.B %s\n%s", number, roff(meaning))
	}
	p(".SH FILES\n.TP\n.I ~/.ssh/config\n.TQ\n.I ~/.ssh/known_hosts\n%s", roff("How the hosts are reached, and which of their keys are believed, where the inventory does not say so."))
	p(".SH SEE ALSO\n.BR ssh (1),\n.BR ssh_config (5),\n.BR docker\\-compose (1)")
}

func manFlag(p func(string, ...any), f cli.Flag) {
	var names []string
	for _, word := range flagWords(f) {
		names = append(names, `\fB`+roff(word)+`\fR`)
	}
	text := strings.Join(names, ", ")
	if takesValue(f) {
		text += ` \fI` + roff(placeholder(f)) + `\fR`
	}
	p(".TP\n%s\n%s", text, roff(meaning(f)))
	if otherwise := defaultOf(f); otherwise != "" {
		p("(default: %s)", roff(otherwise))
	}
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// roff makes text of plain text: nothing in it is a request or an escape.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "\\`", "^", `\(ha`, "~", `\(ti`).Replace(text)
	var ascii strings.Builder
	for _, r := range text {
		if r < 0x80 {
			ascii.WriteRune(r)
		} else {
			fmt.Fprintf(&ascii, `\[u%04X]`, r)
		}
	}
	lines := strings.Split(ascii.String(), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
