package steps

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"provision/provision"
	"provision/provision/visible"
)

// A composed is what Compose makes of a project, of what an update shows: not the
// environment, which has secrets. See templates/wants.sh.
type composed struct {
	failed, project string
	services        []string // in their order
	image           map[string]string
	built           map[string]bool
	count           map[string]string
	has             map[string][]string // of a service: "port 80/tcp", "mount ./site.conf"
	unset           []string
}

func composedOf(lines []string) composed {
	p := composed{image: map[string]string{}, built: map[string]bool{}, count: map[string]string{}, has: map[string][]string{}}
	for _, line := range lines {
		words := strings.Split(line, " ")
		if len(words) < 2 {
			continue
		}
		rest := func(n int) string { return strings.Join(words[min(n, len(words)):], " ") }
		has := func(service, what string) { p.has[service] = append(p.has[service], what) }
		switch words[0] {
		case "/failed":
			p.failed = rest(1)
		case "/project":
			p.project = words[1]
		case "/unset":
			p.unset = append(p.unset, words[1])
		case "/port":
			if len(words) == 5 {
				has(words[4], "port "+portText(words[1], words[2], words[3]))
			}
		case "/named":
			if len(words) == 3 {
				has(words[2], "container name "+words[1])
			}
		case "/mount":
			has(words[1], "mount "+rest(2))
		case "/volume":
			has(words[1], "volume "+rest(2))
		default:
			if !strings.HasPrefix(words[0], "/") && len(words) == 4 {
				p.services = append(p.services, words[0])
				p.image[words[0]], p.built[words[0]], p.count[words[0]] = words[1], words[2] == "yes", words[3]
			}
		}
	}
	return p
}

func portText(ip, port, protocol string) string {
	text := port + "/" + protocol
	switch {
	case ip == "-":
		return text
	case strings.Contains(ip, ":"):
		return "[" + ip + "]:" + text
	}
	return ip + ":" + text
}

// source says where the image of a service comes from.
func (p composed) source(service string) string {
	image := p.image[service]
	switch {
	case p.built[service] && image == "-":
		return "built here"
	case p.built[service]:
		return image + " (built here)"
	}
	return image
}

// updateDetail shows what an update brings: its commits, and what becomes of the
// services.
func updateDetail(f provision.Facts) string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, visible.String(fmt.Sprintf(format, args...))) }
	ahead, back := number(f, "ahead"), number(f, "back")
	n := ahead
	switch {
	case ahead > 0:
		say("new commits:")
	case back > 0:
		n = back
		say("commits that are taken back:")
	}
	for _, commit := range f["commit"] {
		say("  %s", commit)
	}
	if more := n - len(f["commit"]); more > 0 && n > 0 {
		say("  and %d more", more)
	}
	if f.Get("uncomposed") != "" {
		say("what it means for the services is not known, as docker compose is not there")
		return strings.Join(lines, "\n") + "\n"
	}
	was, will := composedOf(f["was"]), composedOf(f["will"])
	if will.failed != "" {
		say("docker compose cannot read the new project, and deploys will fail: %s", will.failed)
		return strings.Join(lines, "\n") + "\n"
	}
	if was.failed != "" {
		say("docker compose cannot read the project as it is: %s", was.failed)
	}
	before := len(lines)
	say("what changes for Compose:")
	compare(was, will, f["other"], say)
	if len(lines) == before+1 {
		lines[before] = "nothing changes for Compose"
	}
	return strings.Join(lines, "\n") + "\n"
}

// compare says what of a project is not in the other.
func compare(was, will composed, other []string, say func(string, ...any)) {
	if was.project != "" && was.project != will.project {
		say("  the Compose project is called %s instead of %s: deploys fail while containers of that are there", will.project, was.project)
	}
	for _, service := range will.services {
		if slices.Contains(was.services, service) {
			continue
		}
		say("  + service %s: image %s", service, will.source(service))
		for _, what := range will.has[service] {
			say("  + service %s: %s", service, what)
		}
		if keys := keysOf(other, service); keys != "" {
			say("  + service %s: other settings, which are not shown here: %s", service, keys)
		}
	}
	for _, service := range was.services {
		if !slices.Contains(will.services, service) {
			say("  - service %s: image %s", service, was.source(service))
		}
	}
	for _, service := range will.services {
		if !slices.Contains(was.services, service) {
			continue
		}
		for _, line := range changesOf(was, will, service) {
			say("%s", line)
		}
		if keys := keysOf(other, service); keys != "" {
			say("  service %s: other settings, which are not shown here: %s", service, keys)
		}
	}
	for _, name := range will.unset {
		if !slices.Contains(was.unset, name) {
			say("  variable %s has no value, and deploys will fail: give it one in the inventory, as env or version", name)
		}
	}
}

// keysOf names the settings of a service that are not the same, or are new with it. Their
// values may be secrets.
func keysOf(other []string, service string) string {
	var keys []string
	for _, line := range other {
		if name, key, _ := strings.Cut(line, " "); name == service {
			keys = append(keys, key)
		}
	}
	return joinAnd(keys)
}

// changesOf says what of a service, which was there before, is another.
func changesOf(was, will composed, service string) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if a, b := was.source(service), will.source(service); a != b {
		say("  service %s: image %s instead of %s", service, b, a)
	}
	if a, b := was.count[service], will.count[service]; a != b {
		say("  service %s: %s instead of %s", service, containersText(b), a)
	}
	for _, what := range will.has[service] {
		if !slices.Contains(was.has[service], what) {
			say("  + service %s: %s", service, what)
		}
	}
	for _, what := range was.has[service] {
		if !slices.Contains(will.has[service], what) {
			say("  - service %s: %s", service, what)
		}
	}
	return lines
}

func containersText(count string) string {
	n, err := strconv.Atoi(count)
	if err != nil {
		return count + " containers"
	}
	return plural(n, "container")
}
