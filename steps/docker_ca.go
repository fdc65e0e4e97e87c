package steps

import (
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
)

// dockerCA wants dockerd to trust the private CAs of the registries where it gets
// tokens for them, too: those come from another server, from GitLab. Where images
// are kept in containerd, as they are by default from Docker 29 on, what is in certs.d
// counts for the registry alone (moby/moby#52361). A login works then, and no pull.
//
// So dockerd gets a folder of CAs besides those of the system. Nothing else on the
// host trusts them.
type dockerCA struct{ pem string }

const (
	dockerCAFile = "/etc/provision/ca/registries.crt"
	dockerCAUnit = "/etc/systemd/system/docker.service.d/provision-ca.conf"

	// Without SSL_CERT_DIR, the other two folders are where Go looks.
	dockerCAText = `# Made by provision: CAs of the places where registries have their tokens from.
[Service]
Environment=SSL_CERT_DIR=/etc/ssl/certs:/etc/pki/tls/certs:/etc/provision/ca
`
)

// dockerCAOf takes the CAs of all registries that the host needs, whatever the run is
// about.
func dockerCAOf(t target) dockerCA {
	var all []string
	for _, r := range append([]*inventory.Registry{&t.inv.Registry}, t.inv.Registries...) {
		needed := slices.ContainsFunc(t.inv.On(t.host), func(d *inventory.Deployment) bool { return pullsFrom(d, *r) })
		if pem := strings.TrimSpace(string(r.CA)); pem != "" && needed && !slices.Contains(all, pem) {
			all = append(all, pem)
		}
	}
	if all == nil {
		return dockerCA{}
	}
	return dockerCA{strings.Join(all, "\n") + "\n"}
}

func (s dockerCA) wanted() bool { return s.pem != "" }

func (dockerCA) Name() string { return "docker-ca" }

// The daemon is asked last, and only where something is missing: docker info runs each of
// its plugins. A container that is mounted by a graph driver tells as much.
//
// A daemon that is older than the certificates has not read them. Its age comes from the
// number of ticks since the boot at which it began; a second may be lost on the way. Of
// the unit its environment tells, to an admin.
func (s dockerCA) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{dockerCAFile, dockerCAUnit, s.pem, fileFact(s.pem, "644"), fileFact(dockerCAText, "644")}, Text: `
shown=$(systemctl show --property ActiveState --property MainPID --property Environment docker.service 2>/dev/null) || :
case $shown in
*ActiveState=active*) ;;
*) return 0 ;; # its socket would start it
esac
! grep -q '/overlay2/[0-9a-f]*/merged overlay ' /proc/mounts || return 0
file='' unit='' old=''
! [ -f "$1" ] || file="$(stat -c '%U %a' "$1") $(sha256sum <"$1" | cut -c 1-64)"
! [ -f "$2" ] || unit="$(stat -c '%U %a' "$2") $(sha256sum <"$2" | cut -c 1-64)"
pid=$(printf '%s\n' "$shown" | sed -n 's/^MainPID=//p')
if [ -n "$file" ] && [ -n "$unit" ] && [ -r "/proc/$pid/stat" ]; then
	ticks=$(sed 's/.*) //' "/proc/$pid/stat" | cut -d ' ' -f 20)
	began=$(($(date +%s) - $(cut -d . -f 1 /proc/uptime) + ticks / $(getconf CLK_TCK 2>/dev/null || echo 100)))
	[ "$((began + 1))" -ge "$(stat -c %Y "$1")" ] && [ "$((began + 1))" -ge "$(stat -c %Y "$2")" ] || old=yes
	if [ "$(id -u)" = 0 ]; then
		tr '\000' '\n' <"/proc/$pid/environ" | grep -qxF "$(sed -n 's/^Environment=//p' "$2")" || old=yes
	fi
fi
[ "$file $unit$old" != "$4 $5" ] || return 0
# Each certificate of $3 in one line.
bodies=$(printf '%s' "$3" | awk '/-----BEGIN/ { body = ""; next } /-----END/ { print body; next } { gsub(/[ \r]/, ""); body = body $0 }')
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
	[ -r "$bundle" ] || continue
	have=$(tr -d '\r\n' <"$bundle")
	all=yes
	for body in $bodies; do
		case $have in *"$body"*) ;; *) all='' ;; esac
	done
	[ -z "$all" ] || return 0
	break # Go reads the first one
done
case $(within 30 docker info --format '{{.DriverStatus}} live-restore={{.LiveRestoreEnabled}}' 2>/dev/null </dev/null) in
*io.containerd.*live-restore=true) ;;
*io.containerd.*) within 30 docker ps --quiet </dev/null | facts container ;;
*) return 0 ;;
esac
fact store containerd
[ -z "$file" ] || fact file "$file"
[ -z "$unit" ] || fact unit "$unit"
[ -z "$old" ] || fact old "$old"
[ -n "$unit" ] || case $shown in *SSL_CERT_*) fact own yes ;; esac
`}}
}

func (s dockerCA) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("store") == "" {
		return nil, nil
	}
	if f.Get("own") != "" {
		return []provision.Change{provision.Drift("docker.service has an SSL_CERT_DIR or SSL_CERT_FILE of its own, and does not trust the CA of the registry for its tokens: it can pull nothing").
			WithHint("add the CA there, and restart Docker")}, nil
	}
	var changes []provision.Change
	if f.Get("file") != fileFact(s.pem, "644") {
		changes = append(changes, provision.Change{
			Verb: provision.Install, Object: dockerCAFile, Remark: "(CA certificates for dockerd, which keeps its images in containerd)",
			Do: install(dockerCAFile, s.pem, "644"),
		})
	}
	if f.Get("unit") != fileFact(dockerCAText, "644") {
		script := install(dockerCAUnit, dockerCAText, "644")
		script.Text += "systemctl daemon-reload\n"
		changes = append(changes, provision.Change{Verb: provision.Install, Object: dockerCAUnit, Remark: "(dockerd trusts " + dockerCAFile + ")", Do: script})
	}
	switch n := len(f["container"]); {
	case len(changes) == 0 && f.Get("old") == "":
	case n > 0:
		changes = append(changes, provision.Change{
			Verb: provision.Restart, Object: "docker.service", Remark: "(until then it does not trust the CA for tokens, and can pull nothing)",
			Interrupts: provision.Interruption{What: plural(n, "container"), Seconds: 15},
			Do:         provision.Script{Text: restartDockerAnyway},
		})
	default:
		changes = append(changes, provision.Change{
			Verb: provision.Restart, Object: "docker.service", Remark: "(no container runs)",
			Do: provision.Script{Text: `
if [ "$(docker info --format '{{.LiveRestoreEnabled}}')" != true ] && [ -n "$(docker ps --quiet)" ]; then
	fail 'a container runs by now, and would stop: run apply again'
fi
` + restartDocker},
		})
	}
	return changes, nil
}

const restartDocker = `
systemctl reset-failed docker.service || : # a fourth start within a minute is refused
systemctl restart docker.service || { systemctl status --no-pager --lines 20 docker.service; exit 1; }
`

// restartDockerAnyway waits for deploys that run. Docker itself starts again only what
// has a restart policy: what ran without one, whoever has started it, is started here.
const restartDockerAnyway = `
for file in /etc/provision/deployments/*; do
	[ -f "$file" ] || continue
	user=$(sed -n 's/^user=//p' "$file")
	home=$(getent passwd "$user" | cut -d : -f 6) || continue
	lock=$home/.provision/${file##*/}/lock
	! runuser -u "$user" -- test -f "$lock" || runuser -u "$user" -- flock -w 1800 "$lock" true || fail 'a deploy does not end'
done
ran=$(docker ps --quiet --no-trunc)
` + restartDocker + `
for id in $ran; do
	case $(docker container inspect --format '{{.State.Status}} {{index .Config.Labels "com.docker.compose.oneoff"}}' "$id" 2>/dev/null) in
	exited*True | '') ;; # of docker compose run, or removed as it ended
	exited*) docker start "$id" >/dev/null || echo "$id does not start again" ;;
	esac
done
`

// undo removes what dockerd got, where no other deployment is left. What it has read,
// it trusts until it restarts.
func (s dockerCA) undo(t target) undo {
	script := provision.Script{Args: []string{dockerCAUnit, dockerCAFile}, Text: lookAtCarried + `
for file; do
	! [ -e "$file" ] || fact file "$file"
done
`}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(t.others(f)) > 0 {
			return nil, nil
		}
		var changes []provision.Change
		if f.Has("file", dockerCAUnit) {
			changes = append(changes, asRoot(provision.Change{Verb: provision.Remove, Object: dockerCAUnit}, removeFile+"systemctl daemon-reload\n", dockerCAUnit, "/etc/systemd/system"))
		}
		if f.Has("file", dockerCAFile) {
			changes = append(changes, asRoot(provision.Change{Verb: provision.Remove, Object: dockerCAFile}, removeFile, dockerCAFile, "/etc/provision"))
		}
		return changes, nil
	}}
}
