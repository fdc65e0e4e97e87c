package templates

import "regexp"

var (
	tagForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]*$`)
)

// BadVersion is why the gate refuses to deploy a version, in its own words; "" where it
// does not.
func BadVersion(version string) string {
	switch isDigest := digestForm.MatchString(version); {
	case !isDigest && !tagForm.MatchString(version):
		return "a version is a tag or a digest"
	case isDigest && len(version) != len("sha256:")+64:
		return "a digest has 64 digits"
	case len(version) > 128:
		return "a version has at most 128 characters"
	}
	return ""
}
