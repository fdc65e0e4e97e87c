package steps

import (
	"strconv"
	"strings"

	"provision/inventory"
	"provision/provision"
)

// A carried deployment is one that a host has settings of. What it is, is what a
// user has in a directory; its name is a label.
type carried struct {
	name            string
	user, directory string
	label           string // what its state folder and its kept images are called
	there           bool   // its directory is, as far as root can tell
	keyed           bool   // its user has a key for it, as far as root can tell
}

// lookAtSettings reports what the host carries: the name of each, and behind that
// name what is known of it. A user is told of the others by name alone. With arguments,
// see carriedArgs, it is what may be of one deployment or in its way, and of what has
// its name, whether there is something: so the programs that are started, and the facts, grow
// with what the host carries, and not with its square.
const lookAtSettings = `
root=''
[ "$(id -u)" != 0 ] || root=yes
for file in "$settings"/*; do
	read_settings "$file" 2>/dev/null || continue
	if [ -n "${1-}" ]; then
		case "${file##*/} $label $user/$directory $formerly" in
		"$4"* | *" $4"* | *" $2/$3 "* | *" $1 "*) ;;
		*) continue ;;
		esac
	fi
	fact carried "${file##*/}"
	[ -n "$root" ] || [ "$user" = "$USER" ] || continue
	fact "user ${file##*/}" "$user"
	fact "directory ${file##*/}" "$directory"
	fact "label ${file##*/}" "$label"
	if [ -z "$root" ] || [ "${file##*/}" != "${1-}" ]; then continue; fi
	home=$(getent passwd "$user" | cut -d : -f 6)
	[ -n "$home" ] || continue
	[ ! -e "$home/$directory" ] || fact there "${file##*/}"
	[ "$(gates "$home" "${file##*/}")" = 0 ] || fact keyed "${file##*/}"
done
`

// carriedArgs are the arguments of lookAtSettings for one deployment. The last one is how all names
// begin that it may get instead of its own.
func carriedArgs(d *inventory.Deployment) []string {
	return []string{d.Name, d.User, d.Directory, labelBase(d.Name)}
}

// carriedBy reads what lookAtSettings has seen.
func carriedBy(f provision.Facts) []carried {
	var all []carried
	for _, name := range f["carried"] {
		all = append(all, carried{
			name: name, user: f.Get("user " + name), directory: f.Get("directory " + name),
			label: f.Get("label " + name), there: f.Has("there", name), keyed: f.Has("keyed", name),
		})
	}
	return all
}

// is tells whether a carried deployment is one of the inventory, whatever it is called.
func (c carried) is(d *inventory.Deployment) bool {
	return c.user == d.User && c.directory == d.Directory
}

// among returns the deployment that a carried one is, nil for none.
func (c carried) among(deployments []*inventory.Deployment) *inventory.Deployment {
	for _, d := range deployments {
		if c.is(d) {
			return d
		}
	}
	return nil
}

// place says where a carried deployment is.
func (c carried) place() string { return "~" + c.user + "/" + c.directory }

// leftName is what a deployment is called that is left behind, where its name is
// for another one. No inventory has a name with capitals.
func leftName(name string, taken func(string) bool) string { return free(name+".OLD", taken) }

// nextName is what a deployment is called before it gets its name from another one.
func nextName(name string, taken func(string) bool) string { return free(name+".NEXT", taken) }

// free adds a number to a name that is taken.
func free(name string, taken func(string) bool) string {
	for n, base := 2, name; taken(name); n++ {
		name = base + strconv.Itoa(n)
	}
	return name
}

// freeLabel is what the state folder and the kept images of a new deployment are
// called. A tag of an image has at most 128 characters, 65 of them for its id.
func freeLabel(name string, taken func(string) bool) string {
	if !taken(name) {
		return name
	}
	for n := 2; ; n++ {
		if label := labelBase(name) + "." + strconv.Itoa(n); !taken(label) {
			return label
		}
	}
}

func labelBase(name string) string { return strings.TrimRight(name[:min(len(name), 58)], "._-") }
