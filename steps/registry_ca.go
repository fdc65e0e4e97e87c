package steps

import (
	"path"
	"strings"

	"provision/inventory"
	"provision/provision"
)

// registryCA wants Docker to trust the private CA of a registry. Docker
// reads every .crt file of that folder, so one of our own name leaves others
// alone (docs.docker.com, "Verify repository client with certificates").
type registryCA struct {
	registry inventory.Registry
	needed   bool // by the deployment
}

// registryCAsOf returns the CA of each registry.
func registryCAsOf(t target) []registryCA {
	all := []registryCA{{t.inv.Registry, true}}
	for _, r := range t.inv.Registries {
		all = append(all, registryCA{*r, pullsFrom(t.deployment, *r)})
	}
	return all
}

func (s registryCA) wanted() bool { return s.needed && s.registry.CA != nil }

func (s registryCA) Name() string { return strings.TrimSpace("registry-ca " + s.registry.Name) }

func (s registryCA) file() string { return "/etc/docker/certs.d/" + s.registry.Host + "/provision.crt" }

func (s registryCA) Probe() provision.Probe {
	return provision.Probe{Script: digestOf(s.file())}
}

func (s registryCA) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(string(s.registry.CA), "644") {
		return nil, nil
	}
	return []provision.Change{{
		Verb:   provision.Install,
		Object: s.file(),
		Remark: s.remark(),
		Do:     install(s.file(), string(s.registry.CA), "644"),
	}}, nil
}

func (s registryCA) remark() string { return "(CA certificate of " + s.registry.Host + ")" }

// undo removes the certificate, where nobody needs it.
func (s registryCA) undo(t target) undo {
	script := provision.Script{Args: []string{s.file()}, Text: lookAtCarried + lookAtEmpty + digestOf("").Text}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if t.othersNeed(f, s.registry) || !s.needed {
			return nil, nil
		}
		if f.Get("file") == "" {
			if f.Get("empty") == "" || !f.Has("carried", t.deployment.Name) {
				return nil, nil // nobody knows whose folder that is
			}
			return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: "empty directory " + path.Dir(s.file())}, removeFile, s.file(), "/etc/docker/certs.d")}, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: s.file(), Remark: s.remark()}, removeFile, s.file(), "/etc/docker/certs.d")}, nil
	}}
}
