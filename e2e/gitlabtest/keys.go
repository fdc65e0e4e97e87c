package gitlabtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// A key is an SSH key: a deploy key, or one that a user logs in with. No two
// have the same public half.
type key struct {
	id       int64
	title    string
	text     string // type, blob, comment
	public   ssh.PublicKey
	user     *user // who registered it
	deploy   bool
	created  time.Time
	expires  time.Time     // zero: never
	used     time.Time     // zero: never
	projects []*keyProject // deploy keys
}

// A keyProject is a project that a deploy key opens.
type keyProject struct {
	project *owner
	canPush bool
}

func (k *key) in(o *owner) *keyProject {
	for _, p := range k.projects {
		if p.project == o {
			return p
		}
	}
	return nil
}

// adminKeys finds a project whose deploy keys the caller may administer.
func (c *call) adminKeys() (*owner, error) { return c.ownerFor("project", 0, Maintainer) }

func listDeployKeys(c *call) (any, error) {
	o, err := c.adminKeys()
	if err != nil {
		return nil, err
	}
	return page(c, c.g.deployKeysOf(o), func(k *key) object { return k.fieldsIn(o) })
}

func (g *GitLab) deployKeysOf(o *owner) []*key {
	var found []*key
	for _, k := range g.keys {
		if k.in(o) != nil {
			found = append(found, k)
		}
	}
	return found
}

func createDeployKey(c *call) (any, error) {
	o, err := c.adminKeys()
	if err != nil {
		return nil, err
	}
	c.require("key", "title")
	k := &key{
		title: c.text("title"), text: strings.TrimSpace(c.text("key")), user: c.user, deploy: true,
		expires: c.time("expires_at"), created: c.g.now(),
	}
	canPush := c.boolean("can_push", false)
	if err := c.err(); err != nil {
		return nil, err
	}
	for _, old := range c.g.deployKeysOf(o) {
		if old.text == k.text {
			return old.fieldsIn(o), nil
		}
	}
	for _, old := range c.g.keys {
		if old.text == k.text && old.accessible(c.user) {
			old.projects = append(old.projects, &keyProject{o, canPush})
			c.changed()
			return old.fieldsIn(o), nil
		}
	}
	if err := c.g.addKey(k).prefixed("deploy_key.").err(); err != nil {
		return nil, err
	}
	k.projects = []*keyProject{{o, canPush}}
	c.changed()
	return k.fieldsIn(o), nil
}

// accessible reports whether u may use a deploy key in another project: u
// administers one that has it.
func (k *key) accessible(u *user) bool {
	return slices.ContainsFunc(k.projects, func(p *keyProject) bool { return p.project.role(u) >= Maintainer })
}

// addKey adds a key, or says what is wrong with it.
func (g *GitLab) addKey(k *key) problems {
	wrong := problems{}
	if k.title == "" {
		wrong.add("title", "can't be blank")
	}
	if utf8.RuneCountInString(k.title) > 255 {
		wrong.add("title", "is too long (maximum is 255 characters)")
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.text))
	switch {
	case k.text == "":
		wrong["key"] = []string{"can't be blank", keyTypes, "is invalid"}
		wrong.add("fingerprint_sha256", "cannot be generated")
	case err != nil:
		wrong.add("key", keyTypes)
		wrong.add("fingerprint_sha256", "cannot be generated")
	case g.keyWith(public) != nil:
		wrong.add("fingerprint_sha256", "has already been taken")
	}
	if !k.expires.IsZero() && k.expires.Before(g.now()) {
		wrong.add("key", "has expired")
	}
	if len(wrong) == 0 {
		k.id, k.public = g.nextID("key"), public
		g.keys = append(g.keys, k)
	}
	return wrong
}

const keyTypes = "type is forbidden. Must be RSA, DSA, ECDSA, ED25519, ECDSA_SK, or ED25519_SK"

func (p problems) prefixed(prefix string) problems {
	out := problems{}
	for attribute, texts := range p {
		out[prefix+attribute] = texts
	}
	return out
}

func (g *GitLab) keyWith(public ssh.PublicKey) *key {
	for _, k := range g.keys {
		if string(k.public.Marshal()) == string(public.Marshal()) {
			return k
		}
	}
	return nil
}

// deployKey finds the deploy key of a project that the path names.
func (c *call) deployKey(missing error) (*owner, *key, error) {
	o, err := c.adminKeys()
	if err != nil {
		return nil, nil, err
	}
	for _, k := range c.g.deployKeysOf(o) {
		if strconv.FormatInt(k.id, 10) == c.r.PathValue("key") {
			return o, k, nil
		}
	}
	return nil, nil, missing
}

// recordNotFound is the other way in which GitLab spells "404 Not Found".
func recordNotFound() error { return message(404, "404 Not found") }

func showDeployKey(c *call) (any, error) {
	o, k, err := c.deployKey(recordNotFound())
	if err != nil {
		return nil, err
	}
	return k.fieldsIn(o), nil
}

func updateDeployKey(c *call) (any, error) {
	if o, err := c.adminKeys(); err != nil || o == nil {
		return nil, err
	}
	c.atLeastOne("title", "can_push")
	title := c.text("title")
	if err := c.err(); err != nil {
		return nil, err
	}
	o, k, err := c.deployKey(recordNotFound())
	if err != nil {
		return nil, err
	}
	if c.has("title") && title == "" {
		return nil, problems{"deploy_key.title": {"can't be blank"}}.err()
	}
	// Others than administrators cannot rename a key that projects share.
	if c.has("title") && title != k.title && (c.user.admin || len(k.projects) == 1) {
		k.title = title
		c.changed()
	}
	if p := k.in(o); c.has("can_push") && p.canPush != c.boolean("can_push", false) {
		p.canPush = !p.canPush
		c.changed()
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return k.fieldsIn(o), nil
}

func deleteDeployKey(c *call) (any, error) {
	o, k, err := c.deployKey(notFound("Deploy key"))
	if err != nil {
		return nil, err
	}
	c.g.detach(k, o)
	c.changed()
	return nil, nil
}

// detach takes a deploy key from a project. With the last project it goes.
func (g *GitLab) detach(k *key, o *owner) {
	k.projects = slices.DeleteFunc(k.projects, func(p *keyProject) bool { return p.project == o })
	if len(k.projects) == 0 {
		g.keys = slices.DeleteFunc(g.keys, func(e *key) bool { return e == k })
	}
}

func enableDeployKey(c *call) (any, error) {
	o, err := c.adminKeys()
	if err != nil {
		return nil, err
	}
	for _, k := range c.g.keys {
		if strconv.FormatInt(k.id, 10) != c.r.PathValue("key") || !k.accessible(c.user) {
			continue
		}
		if k.in(o) == nil {
			k.projects = append(k.projects, &keyProject{project: o})
			c.changed()
		}
		return k.fields(), nil
	}
	return nil, notFound("Deploy key")
}

func listAllDeployKeys(c *call) (any, error) {
	if !c.user.admin {
		return nil, forbidden()
	}
	var all []*key
	for _, k := range c.g.keys {
		if k.deploy {
			all = append(all, k)
		}
	}
	return page(c, all, func(k *key) object {
		writing, reading := []object{}, []object{}
		for _, p := range k.projects {
			if p.canPush {
				writing = append(writing, identity(p.project))
			} else {
				reading = append(reading, identity(p.project))
			}
		}
		return set(k.fields(), object{"projects_with_write_access": writing, "projects_with_readonly_access": reading})
	})
}

func createUserKey(c *call) (any, error) {
	c.require("title", "key")
	k := &key{
		title: c.text("title"), text: strings.TrimSpace(c.text("key")), user: c.user,
		expires: c.time("expires_at"), created: c.g.now(),
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := c.g.addKey(k).err(); err != nil {
		return nil, err
	}
	// GitLab writes a comment of its own.
	words := strings.Fields(k.text)
	k.text = fmt.Sprintf("%s %s %s (%s)", words[0], words[1], c.user.name, c.g.hostname())
	c.changed()
	return k.base(), nil
}

func (k *key) base() object {
	return object{
		"id": k.id, "title": k.title, "created_at": stamp(k.created), "expires_at": stamp(k.expires),
		"last_used_at": stamp(k.used), "key": k.text, "usage_type": "auth_and_signing",
	}
}

func (k *key) fields() object {
	return set(k.base(), object{
		"fingerprint":        ssh.FingerprintLegacyMD5(k.public),
		"fingerprint_sha256": strings.TrimPrefix(ssh.FingerprintSHA256(k.public), "SHA256:"),
	})
}

func (k *key) fieldsIn(o *owner) object { return set(k.fields(), object{"can_push": k.in(o).canPush}) }
