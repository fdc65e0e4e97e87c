package steps

import (
	"path"

	"provision/provision"
)

// registryCA wants Docker to trust the private CA of the registry. Docker
// reads every .crt file of that folder, so one of our own name leaves others
// alone (docs.docker.com, "Verify repository client with certificates").
type registryCA struct {
	registry string
	pem      string
}

func registryCAOf(t target) registryCA {
	return registryCA{t.inv.Registry.Host, string(t.inv.Registry.CA)}
}

func (s registryCA) wanted() bool { return s.pem != "" }

func (registryCA) Name() string { return "registry-ca" }

func (s registryCA) file() string { return "/etc/docker/certs.d/" + s.registry + "/provision.crt" }

func (s registryCA) Probe() provision.Probe {
	return provision.Probe{Script: digestOf(s.file())}
}

func (s registryCA) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(s.pem, "644") {
		return nil, nil
	}
	return []provision.Change{{
		Verb:   provision.Install,
		Object: s.file(),
		Remark: "(CA certificate of " + s.registry + ")",
		Do:     install(s.file(), s.pem, "644"),
	}}, nil
}

// undo removes the certificate, where nobody needs it.
func (s registryCA) undo(t target) undo {
	script := provision.Script{Args: []string{s.file()}, Text: lookAtCarried + lookAtEmpty + digestOf("").Text}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(t.others(f)) > 0 {
			return nil, nil
		}
		if f.Get("file") == "" {
			if f.Get("empty") == "" || !f.Has("carried", t.deployment.Name) {
				return nil, nil // nobody knows whose folder that is
			}
			return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: "empty directory " + path.Dir(s.file())}, removeFile, s.file(), "/etc/docker/certs.d")}, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: s.file(), Remark: "(CA certificate of " + s.registry + ")"}, removeFile, s.file(), "/etc/docker/certs.d")}, nil
	}}
}
