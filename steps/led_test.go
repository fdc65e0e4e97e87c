package steps

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"

	"provision/provision"
	"provision/templates"
)

// opensNothing are the commands that may be told a path in a home by root, as they open nothing
// there: they run as its user, ask for what stat(2) tells, or only use the text.
var opensNothing = []string{
	"read_as", "wait_lock", "hold_lock", "as", "runuser", // as its user
	"[", "test", "stat", // what is there
	"fact", "printf", "echo", "fail", "grep", "awk", "docker", "within", "case", // the text
	"in_clone", "not_in_clone",
	"install", "useradd", "usermod", "userdel", // make and remove the home itself
	"setsid", // the watch of a move is told the directory
}

// A ledScan follows the paths of homes through one script that root runs.
type ledScan struct {
	found  []string
	funcs  map[string]*syntax.FuncDecl
	homes  map[string]bool            // variables that hold a path in a home
	args   map[string]map[string]bool // by function: those of its arguments that do
	spread bool                       // something new was learnt
}

// TestRootOpensNothingInHomes reads all scripts that root runs: what is made of the home of a
// user is no file that root opens, but by the functions of the prelude that do so as that user.
func TestRootOpensNothingInHomes(t *testing.T) {
	variables := 0
	opens := func(name, text string) []string {
		t.Helper()
		file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s := &ledScan{funcs: map[string]*syntax.FuncDecl{}, homes: map[string]bool{}, args: map[string]map[string]bool{}, spread: true}
		syntax.Walk(file, func(n syntax.Node) bool {
			if f, ok := n.(*syntax.FuncDecl); ok {
				s.funcs[f.Name.Value] = f
			}
			return true
		})
		for s.spread {
			s.spread = false
			s.walk(file, "", false)
		}
		s.walk(file, "", true)
		variables += len(s.homes)
		return s.found
	}
	scan := func(name, text string) {
		for _, what := range opens(name, text) {
			t.Errorf("%s: %s", name, what)
		}
	}
	const home = `home=$(getent passwd "$1" | cut -d : -f 6)` + "\n"
	for _, bad := range []string{
		`exec 9<"$home/.provision/lock"`, `cat "$home/x"`, `folder=$home/$2; [ ! -f "$folder/.env" ] || sed -n p "$folder/.env"`,
		`look() { head -n 1 "$2/x"; }; look a "$home"`, `echo x >"$home/x"`, `fact x "$(cut -d : -f 1 "$home/x")"`, `flock -w 5 "$home/lock" true`,
	} {
		if len(opens("bad", home+bad)) == 0 {
			t.Errorf("it finds nothing in %q", bad)
		}
	}
	variables = 0
	for _, s := range everyScript(t) {
		if s.script.User == "" {
			scan(s.name, s.script.Text)
		}
	}
	d := handed
	for _, s := range []provision.Script{Move(d, "hold"), MoveCopy(d, "first", "v")} {
		scan("move", s.Text)
	}
	scan("rename", templates.Settings+templates.Rename)
	if variables < 10 {
		t.Errorf("only %d variables hold a path in a home", variables)
	}
}

// walk looks at what stands in a function, "" for the script itself.
func (s *ledScan) walk(node syntax.Node, in string, tell bool) {
	syntax.Walk(node, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			if n != node {
				s.walk(n.Body, n.Name.Value, tell)
				return false
			}
		case *syntax.Assign:
			if n.Name != nil && n.Value != nil && s.leads(n.Value, in) && !s.homes[n.Name.Value] {
				s.homes[n.Name.Value], s.spread = true, true
			}
		case *syntax.Redirect:
			if tell && n.Word != nil && n.Hdoc == nil && s.leads(n.Word, in) {
				s.found = append(s.found, fmt.Sprintf("line %d: root opens what is in a home", n.Pos().Line()))
			}
		case *syntax.CallExpr:
			s.call(n, in, tell)
		}
		return true
	})
}

func (s *ledScan) call(c *syntax.CallExpr, in string, tell bool) {
	if len(c.Args) == 0 {
		return
	}
	command := c.Args[0].Lit()
	for i, word := range c.Args[1:] {
		if !s.leads(word, in) {
			continue
		}
		if s.funcs[command] != nil && !slices.Contains(opensNothing, command) {
			if s.args[command] == nil {
				s.args[command] = map[string]bool{}
			}
			if number := strconv.Itoa(i + 1); !s.args[command][number] {
				s.args[command][number], s.spread = true, true
			}
			continue
		}
		if tell && !slices.Contains(opensNothing, command) {
			s.found = append(s.found, fmt.Sprintf("line %d: %s is told of what is in a home, and run by root", c.Pos().Line(), command))
		}
	}
}

// leads tells whether a word holds a path in a home.
func (s *ledScan) leads(word *syntax.Word, in string) (leads bool) {
	syntax.Walk(word, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CmdSubst: // of the commands only getent(1) tells one
			syntax.Walk(n, func(n syntax.Node) bool {
				if c, ok := n.(*syntax.CallExpr); ok && len(c.Args) > 2 && c.Args[0].Lit() == "getent" && c.Args[1].Lit() == "passwd" {
					leads = true
				}
				return true
			})
			return false
		case *syntax.ParamExp:
			leads = leads || s.homes[n.Param.Value] || s.args[in][n.Param.Value]
		}
		return true
	})
	return leads
}
