package rehearsal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"provision/inventory"
)

// Write writes the inventory of the world to a file beside its secrets, and
// returns its name: what is typed in the lab is what an admin types.
func (w *World) Write() (string, error) {
	inv := w.Inventory
	var b strings.Builder
	section := func(name string) { fmt.Fprintf(&b, "\n[%s]\n", name) }
	set := func(key string, value any) { fmt.Fprintf(&b, "%s = %s\n", key, literal(value)) }

	ca := filepath.Join(w.dir, "ca.pem")
	if err := os.WriteFile(ca, inv.GitLab.CA, 0o644); err != nil {
		return "", err
	}
	section("gitlab")
	set("url", inv.GitLab.URL)
	set("token", inv.GitLab.Token)
	set("ca_file", ca)
	set("ssh", fmt.Sprintf("ssh://%s@%s:%d", inv.GitLab.SSH.User, inv.GitLab.SSH.Host, inv.GitLab.SSH.Port))
	set("host_keys", inv.GitLab.HostKeys)
	section("registry")
	set("host", inv.Registry.Host)
	set("ca_file", ca)
	if c := inv.Registry.Credential; c.Kind == inventory.Named {
		fmt.Fprintf(&b, "credential = { username = %q, password = %s }\n", c.Username, literal(c.Password))
	} else {
		set("credential", string(c.Kind))
	}
	if inv.Registry.Group != "" {
		set("group", inv.Registry.Group)
	}
	for _, r := range inv.Registries {
		file := filepath.Join(w.dir, "ca-"+r.Name+".pem")
		if err := os.WriteFile(file, r.CA, 0o644); err != nil {
			return "", err
		}
		section("registries." + strconv.Quote(r.Name))
		set("host", r.Host)
		set("ca_file", file)
		if c := r.Credential; c.Kind == inventory.Named {
			fmt.Fprintf(&b, "credential = { username = %q, password = %s }\n", c.Username, literal(c.Password))
		}
	}
	for _, h := range inv.Hosts {
		section("hosts." + strconv.Quote(h.Name))
		set("address", address(h.Address, h.Port))
		if h.CIAddress != "" {
			set("ci_address", address(h.CIAddress, h.CIPort))
		}
		set("user", h.User)
		if len(h.HostKeys) > 0 {
			set("host_keys", h.HostKeys)
		}
		set("become", string(h.Become))
		if !h.BecomePassword.IsZero() {
			set("become_password", h.BecomePassword)
		}
		set("identity", h.Identity)
		set("engine", string(h.Engine))
	}
	var written []string
	for _, d := range inv.Deployments {
		if slices.Contains(written, d.Name) {
			continue
		}
		written = append(written, d.Name)
		var hosts []string
		for _, other := range inv.Deployments {
			if other.Name == d.Name {
				hosts = append(hosts, other.Host.Name)
			}
		}
		section("deployments." + strconv.Quote(d.Name))
		if d.Listed() {
			set("hosts", hosts)
		} else {
			set("host", d.Host.Name)
		}
		set("project", d.Project)
		set("user", d.User)
		set("directory", d.Directory)
		if d.Environment != "" {
			set("environment", d.Environment)
		}
		if d.Branch != "" {
			set("branch", d.Branch)
		}
		owner := "group = " + literal(d.Variables.Group)
		if d.Variables.Group == "" {
			owner = "projects = " + literal(d.Variables.Projects)
		}
		if d.Variables.Prefix != "" {
			owner += ", prefix = " + literal(d.Variables.Prefix)
		}
		fmt.Fprintf(&b, "variables = { %s }\n", owner)
		if d.Override != nil {
			path, err := filepath.Abs(d.Override.Path) // a relative one starts beside the inventory that was loaded
			if err != nil {
				return "", err
			}
			set("override", path)
		}
		if len(d.Compose) > 0 {
			set("compose", d.Compose)
		}
		if len(d.Profiles) > 0 {
			set("profiles", d.Profiles)
		}
		var env, files []string
		for _, v := range d.Env {
			value := literal(v.Text)
			if !v.Secret.IsZero() {
				value = literal(v.Secret)
			}
			env = append(env, literal(v.Name)+" = "+value)
		}
		for _, f := range d.Files {
			files = append(files, literal(f.Path)+" = "+literal(f.Secret))
		}
		fmt.Fprintf(&b, "env = { %s }\nfiles = { %s }\n", strings.Join(env, ", "), strings.Join(files, ", "))
		set("wait", d.Wait)
		fmt.Fprintf(&b, "rollback = %t\n", d.Rollback)
		fmt.Fprintf(&b, "keep_images = %d\n", d.KeepImages)
		fmt.Fprintf(&b, "logs = %d\n", d.Logs)
		if d.Version != "" {
			set("version", d.Version)
		}
		if d.Before != "" {
			set("before", d.Before)
		}
		if len(d.Registries) > 0 {
			var names []string
			for _, r := range d.Registries {
				names = append(names, r.Name)
			}
			set("registries", names)
		}
		if len(d.Parameters) > 0 {
			section("deployments." + strconv.Quote(d.Name) + ".parameters")
			for key, value := range d.Parameters {
				set(strconv.Quote(key), value)
			}
		}
	}
	file := filepath.Join(w.dir, "inventory.toml")
	return file, os.WriteFile(file, []byte(b.String()), 0o644)
}

// literal writes a value as TOML has it. The strings here are names and keys,
// which Go and TOML quote alike.
func literal(value any) string {
	switch v := value.(type) {
	case inventory.Secret:
		switch {
		case v.Env != "":
			return fmt.Sprintf("{ env = %q }", v.Env)
		case len(v.Command) > 0:
			return "{ command = " + literal(v.Command) + " }"
		}
		return fmt.Sprintf("{ file = %q }", v.File)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return strconv.Quote(fmt.Sprint(value))
}

func address(host string, port int) string {
	if port == 0 {
		return host
	}
	return fmt.Sprintf("%s:%d", host, port)
}
