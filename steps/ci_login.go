package steps

import (
	"context"

	"provision/provision"
	"provision/provision/forge"
	"provision/templates"
)

// ciLogin wants the CI key to have come in once: what sshd_config(5), PAM and the
// account make of a login is known only then.
type ciLogin struct{ key ciKey }

func ciLoginOf(t target) ciLogin { return ciLogin{ciKeyOf(t)} }

func (s ciLogin) Name() string { return "ci-login " + s.key.ci.deployment }

func (s ciLogin) Scope() provision.Scope { return s.key.Scope() }

// wanted tells whether there is somebody to log in.
func (s ciLogin) wanted() bool { return s.key.login != nil }

// The gate makes the file.
func (s ciLogin) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.key.ci.user, Args: []string{s.key.ci.deployment, s.key.directory}, Text: templates.Settings + `
carried "$1" "$USER" "$2"
[ -z "$label" ] || [ ! -e ".provision/$label/session.0" ] || fact came yes
`}}
}

func (s ciLogin) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("came") != "" {
		return nil, nil
	}
	test := s.key.try("the CI key of "+s.key.ci.deployment, "(SSH login)", s.key.heldBy(s.key.ci.owners[0]))
	test.Hint = "sshd refuses " + s.key.ci.user + ", or runs something else for it; on the host: sshd -T -C user=" + s.key.ci.user + ",host=localhost,addr=127.0.0.1; journalctl -u ssh"
	return []provision.Change{test}, nil
}

// try logs in with keys.
func (s ciKey) try(object, remark string, keys ...keyFrom) provision.Change {
	return provision.Change{Verb: provision.Test, Object: object, Remark: remark, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
		for _, from := range keys {
			key, err := from(ctx, g)
			if err != nil {
				return err
			}
			if err := s.login(ctx, key); err != nil {
				return err
			}
		}
		return nil
	})}
}
