package steps

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
)

// engine wants Docker, Compose v2, git and ssh.
type engine struct {
	install bool // from the packages of the distribution
}

func engineOf(t target) engine { return engine{t.host.Engine == inventory.EngineDistribution} }

func (engine) Name() string { return "engine" }

// The folders are those where the docker CLI looks for plugins of all users.
func (engine) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: `
for tool in docker git ssh; do
	! command -v "$tool" >/dev/null || fact has "$tool"
done
compose=''
for folder in /usr/local/lib /usr/local/libexec /usr/lib /usr/libexec; do
	plugin=$folder/docker/cli-plugins/docker-compose
	if [ -x "$plugin" ]; then
		fact has compose
		compose=${compose:-$plugin} # the first one is docker's
	fi
done
# On a host that carries something it has run.
if [ -n "$compose" ] && ! [ -d /etc/provision/deployments ]; then
	said=$("$compose" version 2>&1 </dev/null) || fact broken "$(printf '%s\n' "$said" | tail -n 1)"
fi
! [ -r /etc/os-release ] || (
	. /etc/os-release
	fact id "${ID-}"
	fact version "${VERSION_ID-}"
	fact name "${PRETTY_NAME-}"
)
# dpkg also knows what is not installed, where other packages speak of it.
dpkg-query -W -f '${db:Status-Status} ${Package}\n' docker.io docker-cli docker-compose docker-compose-v2 containerd runc git docker-ce 2>/dev/null |
	while read -r status package; do
		case $status:$package in
		installed:docker-ce) fact has docker-ce ;;
		*:docker-ce) ;;
		unpacked:* | half-installed:* | half-configured:*) fact unfinished "$package" ;;
		esac
	done
`}}
}

func (s engine) Plan(f provision.Facts) ([]provision.Change, error) {
	var lacks []string
	for _, tool := range []string{"docker", "compose", "git", "ssh"} {
		if !f.Has("has", tool) {
			lacks = append(lacks, tool)
		}
	}
	if broken := f["broken"]; len(broken) > 0 {
		return nil, hint.Add(fmt.Errorf("docker compose is there, and does not run: %s", visible.String(broken[0])), "install the one for this machine and its libraries")
	}
	unfinished := f["unfinished"]
	if len(lacks) == 0 && len(unfinished) == 0 {
		return nil, nil
	}
	if len(lacks) == 0 {
		if !s.install {
			return nil, hint.Add(fmt.Errorf("the installation of %s was interrupted", joinAnd(unfinished)), "finish it: dpkg --configure -a")
		}
		return []provision.Change{aptInstall(joinAnd(unfinished), "(finishes an interrupted installation)", unfinished)}, nil
	}
	packages, err := s.packages(f, lacks)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(lacks))
	for i, tool := range lacks {
		names[i] = map[string]string{"docker": "Docker", "compose": "Compose v2", "git": "git", "ssh": "the SSH client"}[tool]
	}
	it := "it"
	if len(lacks) > 1 {
		it = "them"
	}
	if !s.install {
		advice := "install " + it + `, or set engine = "distribution" in the inventory`
		if packages == nil {
			advice = "install " + it + " from https://docs.docker.com/engine/install/"
		}
		return nil, hint.Add(fmt.Errorf("the host has no %s", joinAnd(names)), "%s", advice)
	}
	if packages == nil {
		return nil, hint.Add(fmt.Errorf("%s has no packages that are known here for %s", f.Get("name"), joinAnd(names)),
			`install %s from https://docs.docker.com/engine/install/ and set engine = "present"`, it)
	}
	return []provision.Change{aptInstall(joinAnd(names), "("+strings.Join(packages, " ")+")", append(packages, unfinished...))}, nil
}

// aptInstall installs packages. On a terminal of its own dpkg would outlive an
// interrupt. What an interrupt leaves half done keeps apt from working, so that
// is finished first.
func aptInstall(what, remark string, packages []string) provision.Change {
	return provision.Change{Verb: provision.Install, Object: what, Remark: remark, Do: provision.Script{Args: packages, Text: `
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
dpkg --configure -a || :
end=$(($(date +%s) + 300))
until said=$(apt-get update -q 2>&1); do
	case $said in # of its lists apt waits for no lock
	*'Could not get lock'* | *'Unable to lock'*) [ "$(date +%s)" -ge "$end" ] || { sleep 1; continue; } ;;
	esac
	printf '%s\n' "$said"
	return 1
done
printf '%s\n' "$said"
apt-get install -q -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"
`}}
}

// packages returns the packages that bring what the host lacks; nil where the
// distribution is not known.
func (s engine) packages(f provision.Facts, lacks []string) ([]string, error) {
	version, err := strconv.ParseFloat(f.Get("version"), 64)
	if err != nil {
		return nil, nil
	}
	var docker, compose []string
	switch id := f.Get("id"); {
	case id == "debian" && version >= 13:
		docker, compose = []string{"docker.io", "docker-cli"}, []string{"docker-compose"}
	case id == "ubuntu" && version >= 22.04:
		docker, compose = []string{"docker.io"}, []string{"docker-compose-v2"}
	case id == "ubuntu" && (slices.Contains(lacks, "docker") || slices.Contains(lacks, "compose")):
		return nil, nil
	case id == "debian" && (slices.Contains(lacks, "docker") || slices.Contains(lacks, "compose")):
		return nil, hint.Add(fmt.Errorf("the packages of %s have no Compose v2", f.Get("name")),
			`upgrade the host to Debian 13, or install docker-ce and docker-compose-plugin from https://docs.docker.com/engine/install/debian/ and set engine = "present"`)
	case id != "debian" && id != "ubuntu":
		return nil, nil
	}
	if s.install && f.Has("has", "docker-ce") && slices.Contains(lacks, "compose") {
		return nil, hint.Add(errors.New("the host has docker-ce, which does not go with the Compose of the distribution"),
			"apt-get install docker-compose-plugin from the same repository as docker-ce")
	}
	var packages []string
	for _, tool := range lacks {
		switch tool {
		case "docker":
			packages = append(packages, docker...)
		case "compose":
			packages = append(packages, compose...)
		case "git":
			packages = append(packages, "git")
		case "ssh":
			packages = append(packages, "openssh-client")
		}
	}
	return packages, nil
}
