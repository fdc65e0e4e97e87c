package steps

import (
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/templates"
)

// staleCA wants no CA certificate of ours to stay for a registry that the inventory does
// not name any more, once nothing on the host has its name in an image. Until then Docker
// may have to pull that again.
type staleCA struct {
	named []string // the registries of the inventory
	on    []*inventory.Deployment
	asCI  bool
}

func staleCAOf(t target) staleCA {
	s := staleCA{named: []string{t.inv.Registry.Host}, on: t.inv.On(t.host), asCI: t.given.AsUser || t.probing}
	for _, r := range t.inv.Registries {
		s.named = append(s.named, r.Host)
	}
	return s
}

func (staleCA) Name() string { return "stale-registry-ca" }

// wanted leaves it to an admin: it opens nothing to anybody.
func (s staleCA) wanted() bool { return !s.asCI }

func (s staleCA) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{strings.Join(s.named, " ")}, Text: templates.Settings + `
found=''
for file in /etc/docker/certs.d/*/provision.crt; do
	[ -f "$file" ] || continue
	file=${file%/*}
	case " $1 " in
	*" ${file##*/} "*) ;;
	*) found="$found ${file##*/}" ;;
	esac
done
[ -n "$found" ] || return 0
for file in "$settings"/*; do
	! read_settings "$file" 2>/dev/null || fact carried "$user/$directory"
done
images=unknown # its socket would start it
if ! command -v systemctl >/dev/null || systemctl is-active --quiet docker.service; then
	images=$(docker ps -a --format '{{.Image}}' 2>/dev/null) || images=unknown
fi
for host in $found; do
	fact stale "$host"
	if [ "$images" = unknown ] || printf '%s\n' "$images" | grep -qF "$host/"; then fact needed "$host"; fi
done
`}}
}

// A deployment that the inventory does not name may be that of another one, which names
// its registry.
func (s staleCA) Plan(f provision.Facts) (changes []provision.Change, err error) {
	for _, place := range f["carried"] {
		if !slices.ContainsFunc(s.on, func(d *inventory.Deployment) bool { return d.User+"/"+d.Directory == place }) {
			return nil, nil
		}
	}
	for _, host := range f["stale"] {
		if f.Has("needed", host) {
			continue
		}
		file := registryCA{registry: inventory.Registry{Host: host}}.file()
		changes = append(changes, asRoot(provision.Change{
			Verb: provision.Remove, Object: file, Remark: "(no registry of the inventory, and nothing runs from it)",
		}, removeFile, file, "/etc/docker/certs.d"))
	}
	return changes, nil
}
