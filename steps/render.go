package steps

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/templates"
)

// A File is what apply writes on a host: a whole file, or a line in one.
type File struct {
	Name string // as on the host; "~user" is the home of that user
	Text string
}

// GateFiles are the programs that are all that a CI key can run.
func GateFiles() []File {
	return []File{{gateFile, templates.Gate}, {deployFile, templates.Deploy}}
}

// SettingsFile has the deploy settings of a deployment.
func SettingsFile(inv *inventory.Inventory, d *inventory.Deployment) File {
	s := deploySettingsOf(target{inv: inv, deployment: d})
	return File{settingsFile(s.deployment), s.text()}
}

// OverrideFile is the compose.override.yaml of a deployment that has an
// override.
func OverrideFile(d *inventory.Deployment) File {
	s := overrideOf(target{deployment: d})
	return File{"~" + d.User + "/" + s.file(), s.text}
}

// AuthorizedKey is the line of the CI key. The key is generated when apply needs
// it; here PUBLIC-KEY and FINGERPRINT stand for it.
func AuthorizedKey(d *inventory.Deployment) File {
	const public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	const fingerprint = "SHA256:kmYcvdi2GkPeWxB6XLjrZB8JHsy2Hm8luHMFp9GMvqk"
	line, err := ciKey{ci: ciOf(d)}.line(public)
	if err != nil {
		panic("a constant: " + err.Error())
	}
	line = strings.NewReplacer(public, "ssh-ed25519 PUBLIC-KEY", fingerprint, "SHA256:FINGERPRINT").Replace(line)
	return File{"~" + d.User + "/.ssh/authorized_keys", line + "\n"}
}

// RegistryLogin is the config.json of a user who has none yet, with words for
// the credentials. In one that is there, only the logins change.
func RegistryLogin(inv *inventory.Inventory, d *inventory.Deployment) File {
	var logins []string
	for _, s := range registryLoginsOf(target{inv: inv, host: d.Host, deployment: d}) {
		if !s.needed {
			continue
		}
		name, password := loginPrefix+"ID", "TOKEN"
		switch c := s.registry.Credential; c.Kind {
		case inventory.DeployToken:
			name = deployTokenPrefix + "ID"
		case inventory.Named:
			name, password = c.Username, "PASSWORD"
		}
		auth, err := json.Marshal(fmt.Sprintf("base64 of %s:%s", name, password))
		if err != nil {
			panic(err) // a string
		}
		logins = append(logins, fmt.Sprintf("\t\t%q: {\n\t\t\t\"auth\": %s\n\t\t}", s.registry.Key(), auth))
	}
	slices.Reverse(logins) // each is put before the others
	return File{"~" + d.User + "/.docker/config.json", "{\n\t\"auths\": {\n" + strings.Join(logins, ",\n") + "\n\t}\n}\n"}
}
