package steps

import (
	"provision/provision"
	"provision/templates"
)

// gate wants one of the programs that are all that a CI key can run: the gate
// itself, and the deploy that it begins.
type gate struct{ name, file, text string }

const (
	gateFile   = "/usr/local/lib/provision/gate"
	deployFile = "/usr/local/lib/provision/deploy"
)

// The deploy comes first: a gate of the same version needs it.
func deployProgramOf(target) gate { return gate{"deploy-program", deployFile, templates.Deploy} }

func gateOf(target) gate { return gate{"gate", gateFile, templates.Gate} }

func (g gate) Name() string { return g.name }

func (g gate) Probe() provision.Probe { return provision.Probe{Script: digestOf(g.file)} }

func (g gate) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(g.text, "755") {
		return nil, nil
	}
	change := provision.Change{Verb: provision.Install, Object: g.file, Do: install(g.file, g.text, "755")}
	if f.Get("file") != "" {
		change.Verb, change.Remark = provision.Update, "(another version, or altered)"
	}
	return []provision.Change{change}, nil
}

// undo removes both programs, where no deployment is left, and the folders
// that are ours alone.
func (g gate) undo(t target) undo {
	script := provision.Script{Text: lookAtCarried + `
for file in ` + gateFile + ` ` + deployFile + `; do
	! [ -e "$file" ] || fact there "$file"
done
for dir in /etc/provision /usr/local/lib/provision; do
	! [ -d "$dir" ] || [ -n "$(find "$dir" ! -type d)" ] || fact bare "$dir"
done
`}
	return undo{g.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(t.others(f)) > 0 {
			return nil, nil
		}
		var changes []provision.Change
		for _, file := range f["there"] {
			changes = append(changes, asRoot(provision.Change{Verb: provision.Remove, Object: file}, removeFile, file, "/usr/local/lib/provision"))
		}
		if bare := f["bare"]; len(bare) > 0 {
			changes = append(changes, asRoot(provision.Change{Verb: provision.Remove, Object: joinAnd(bare), Remark: "(empty directories)"}, `find "$@" -depth -type d -exec rmdir {} \;`, bare...))
		}
		return changes, nil
	}}
}
