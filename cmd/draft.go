package cmd

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var notInNames = regexp.MustCompile(`[^a-z0-9-]+`)

// plainName makes a name of a part of a path or an address.
func plainName(s, otherwise string) string {
	return cmp.Or(strings.Trim(notInNames.ReplaceAllString(strings.ToLower(s), "-"), "-"), otherwise)
}

// hostName is what the inventory calls the host.
func (d *draft) hostName() string {
	host := d.address
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return "host1"
	}
	first, _, _ := strings.Cut(host, ".")
	return plainName(first, "host1")
}

// text is the inventory, with the comments that help to go on.
func (d *draft) text() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	q := strconv.Quote
	directory := plainName(d.project[strings.LastIndexByte(d.project, '/')+1:], "app")
	host := d.hostName()
	user := cmp.Or(d.user, ("deploy-" + directory)[:min(32, len("deploy-"+directory))])
	ca := ""
	if d.caFile != "" {
		ca = d.caFile
		if dir, err := filepath.Abs(filepath.Dir(d.file)); err == nil {
			if abs, err := filepath.Abs(ca); err == nil {
				ca = abs
				if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
					ca = rel
				}
			}
		}
	}

	p("# An inventory for provision. All keys, with what they mean, are in the schema.")
	p("# For an editor that completes them: provision schema >provision.schema.json, and")
	p("# as the first line of this file: #:schema ./provision.schema.json")
	p("\n[gitlab]\nurl = %s", q(d.gitlab))
	p("# The scope is api. The token itself never stands here.\ntoken = { env = %s }", q(d.tokenEnv))
	if ca != "" {
		p("ca_file = %s", q(ca))
	}
	if d.ssh != d.defaultSSH() {
		p("ssh = %s", q(fmt.Sprintf("ssh://%s@%s", d.ssh.User, net.JoinHostPort(d.ssh.Host, strconv.Itoa(d.ssh.Port)))))
	}
	p("# Of git over SSH: the hosts trust these and no others.\nhost_keys = [%s]", quotedList(d.git.right))
	p("\n[registry]\nhost = %s", q(d.registry))
	if ca != "" {
		p("ca_file = %s", q(ca))
	}
	switch {
	case d.group == "":
		p("# The project is in no group, so no token of a group can read its images. Name a\n# login that may: a personal access token with the scope read_registry.")
		p("credential = { username = \"reader\", password = { env = \"REGISTRY_PASSWORD\" } }")
	case d.ssh.Host == "gitlab.com" || strings.HasSuffix(d.gitlab, "//gitlab.com"):
		p("# \"group-access-token\" ends by itself and is renewed; on GitLab.com it needs Premium.\ncredential = \"deploy-token\"")
	default:
		p("# Each host gets a token of its own that reads images; or \"deploy-token\".\ncredential = \"group-access-token\"")
	}
	p("\n[hosts.%s]\naddress = %s", host, q(d.address))
	if d.admin != "" {
		p("user = %s", q(d.admin))
	} else {
		p("# user = \"admin\"  # without it: what ~/.ssh/config says, else your own name")
	}
	if d.identity != "" {
		identity, err := filepath.Abs(d.identity)
		if err != nil {
			identity = d.identity
		}
		p("identity = %s", q(identity))
	}
	p("host_keys = [%s]", quotedList(d.machine.right))
	p("# become = \"sudo\"          # or \"doas\", or \"none\" where the login is root")
	p("# become_password = { env = \"SUDO_PASSWORD\" }  # in scripts; at a terminal it is asked for")
	p("# engine = \"distribution\"  # installs Docker, Compose and git where they are not")
	p("\n[deployments.%s]\nhosts = [%s]\nproject = %s", q(directory+"-"+plainName(d.environment, "production")), q(host), q(d.project))
	p("# The Unix user that owns it, and the directory in its home, which also names the\n# Compose project.\nuser = %s\ndirectory = %s", q(user), q(directory))
	p("# In GitLab each host has an environment of its own: %s.\nenvironment = %s", d.environment+"/"+host, q(d.environment))
	p("# Where the CI key goes. For all projects of a group: { group = %s }; the\n# environments of such variables need GitLab Premium.", q(cmp.Or(d.group, "transmogrify")))
	p("variables = { projects = [%s] }", q(d.project))
	p("# wait = \"120s\"      # how long a deploy waits for health; without it: 5m\n# rollback = true    # a deploy that fails goes back to the last good one")
	return b.String()
}

// quotedList writes keys one a line.
func quotedList(keys []string) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString("\n  " + strconv.Quote(k) + ",")
	}
	return b.String() + "\n"
}
