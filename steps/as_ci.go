package steps

import (
	"provision/inventory"
	"provision/provision"
	"provision/provision/shape"
)

// ForCI returns the steps of a deployment as CI may look at them. There is none of
// them that CI may not look at, see TestCISeesShapes.
func ForCI(inv *inventory.Inventory, d *inventory.Deployment, given Given) []provision.CIStep {
	given.Salt, given.AsUser = "", true
	return asCI(target{inv: inv, host: d.Host, deployment: d, selected: []*inventory.Deployment{d}, given: given})
}

func asCI(t target) (steps []provision.CIStep) {
	var all []provision.Step
	for _, k := range kinds() {
		all = k.wanted(all, t)
	}
	for _, s := range all {
		if s, ok := s.(provision.CIStep); ok {
			steps = append(steps, s)
		}
	}
	return steps
}

// Shapes of what several steps look at.
var (
	yes = shape.Words("yes")

	// rootFile is what [digestOf] and its like report of a file: owner, mode, digest.
	rootFile = shape.Row(shape.Name, shape.Mode, shape.Digest)

	// folder is a directory, or a file, by a path of plain names.
	folder shape.Shape = `(/?[A-Za-z0-9._@+-]+(/[A-Za-z0-9._@+-]+)*/?|/)?`

	carriedFacts = shape.Facts{
		"carried": shape.Name, "user *": shape.Name, "directory *": shape.Name, "label *": shape.Name,
	}
)

// told redefines fact, so that what a script reports is told to CI otherwise: the text
// is the branches of a case over KEY=VALUE.
func toldAs(branches string) string {
	return `
fact() {
	case $1=$2 in
` + branches + `
	esac
	printf '%s fact %s=%s\n' "$mark" "$1" "$2"
}
`
}
