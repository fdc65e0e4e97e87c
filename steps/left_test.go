package steps

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/forgetest"
	"provision/provision/secret"
)

// setLeft gives GitLab what apply makes for a deployment on a host: its variables, a
// token and a deploy key.
func setLeft(t *testing.T, f *forgetest.Fake, d *inventory.Deployment) {
	t.Helper()
	c := ciOf(d)
	for _, base := range ciBases {
		v := forge.Variable{Key: d.Variables.Key(base), Scope: d.Scope, Description: c.description(), Value: secret.New("x")}
		if base == inventory.DeployTargetVariable {
			v.Value = secret.New(c.target)
		}
		f.Vars[group] = append(f.Vars[group], v)
	}
	title := d.User + "@" + d.Host.Name
	if _, err := f.CreateToken(t.Context(), group, forge.AccessToken, forge.Token{Name: title, Description: "Made by provision for " + title + "."}); err != nil {
		t.Fatal(err)
	}
	if err := f.AddDeployKey(t.Context(), d.Project, forge.DeployKey{Title: title, Key: "ssh-ed25519 AAAA" + d.Host.Name + d.User + " " + title}); err != nil {
		t.Fatal(err)
	}
}

// on returns a deployment like the one of the inventory on another host.
func on(inv *inventory.Inventory, host, address string) *inventory.Deployment {
	d := *inv.Deployments[0]
	d.Host = &inventory.Host{Name: host, Address: address}
	d.Scope = d.Environment + "/" + host
	return &d
}

func leftOf(t *testing.T, f *forgetest.Fake, inv *inventory.Inventory) []Left {
	t.Helper()
	left, err := LeftBehind(t.Context(), f, inv)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestLeftBehind(t *testing.T) {
	inv, _ := inventoryOf(t, "")
	f := newFake()
	setLeft(t, f, inv.Deployments[0])
	if left := leftOf(t, f, inv); len(left) > 0 {
		t.Errorf("what the inventory wants is left: %+v", left)
	}

	setLeft(t, f, on(inv, "web2", "web2.example.com"))
	// Another inventory has the group, too: other names, or other environments.
	shop := on(inv, "shop1", "shop1.example.com")
	shop.Name, shop.User, shop.Scope = "shop", "deploy-shop", "production/shop1"
	setLeft(t, f, shop)
	staging := on(inv, "stage1", "stage1.example.com")
	staging.Scope = "staging"
	setLeft(t, f, staging)
	// The host was called web0 when its key was made.
	web2 := f.Keys["transmogrify/frobnicator"]
	web2[1].Key = strings.Replace(web2[1].Key, "@web2", "@web0", 1)
	// And people have made things, whose names are like ours.
	f.Vars[group] = append(f.Vars[group], forge.Variable{Key: "SSH_AUTH", Scope: "x", Description: "Set by provision for a on web9; rm -rf"}, forge.Variable{Key: "OTHER", Scope: "x", Description: "Set by provision for a on web9."})
	f.Keys["transmogrify/frobnicator"] = append(f.Keys["transmogrify/frobnicator"], forge.DeployKey{Title: "bob@web9", Key: "ssh-ed25519 AAAAbob bob@laptop"}, forge.DeployKey{Title: "bob@web9", Key: "ssh-ed25519 AAAAbob2 bob@web9", CanPush: true})
	if _, err := f.CreateToken(t.Context(), group, forge.AccessToken, forge.Token{Name: "bob@web9", Description: "by hand"}); err != nil {
		t.Fatal(err)
	}

	held := &Held{}
	held.Add("web1", provision.Facts{"carries": {"frobnicator-production deploy-frobnicator"}, "key": {"ssh-ed25519 AAAAweb1deploy-frobnicator"}})
	var got []string
	for _, l := range leftOf(t, f, inv) {
		if l = l.Without(held); l.Empty() {
			continue
		}
		for _, n := range l.Found().Notes {
			kind := "note: "
			if n.Drift {
				kind = "drift: "
			}
			got = append(got, kind+n.Text+"\n"+n.Hint)
		}
		if l.Certain(held) {
			t.Errorf("%s is certain", l.Host)
		}
	}
	want := []string{
		"note: shop1 is not in the inventory, and GitLab still has 3 CI variables, 1 token and 1 deploy key of it, for shop\nif it is in no other inventory: provision remove --gone shop1 fleet/inventory.toml",
		"note: stage1 is not in the inventory, and GitLab still has 3 CI variables, 1 token and 1 deploy key of it, for frobnicator-production\nif it is in no other inventory: provision remove --gone stage1 fleet/inventory.toml",
		"drift: web2 is not in the inventory, and GitLab still has 3 CI variables, 1 token and 1 deploy key of it, for frobnicator-production\nif it is in no other inventory: provision remove --gone web2 fleet/inventory.toml",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A host got another name: what it still holds is its own, whatever that is called.
func TestLeftRenamed(t *testing.T) {
	inv, _ := inventoryOf(t, "")
	same := on(inv, "app2", inv.Hosts[0].Address)
	same.Scope = inv.Deployments[0].Scope
	f := newFake()
	setLeft(t, f, same)
	for _, l := range leftOf(t, f, inv) {
		if text := l.Found().Notes[0].Text; strings.Contains(text, "variable") {
			t.Errorf("variables that the inventory wants are left: %s", text)
		}
	}

	f = newFake()
	old := on(inv, "app3", inv.Hosts[0].Address)
	setLeft(t, f, old)
	l := leftOf(t, f, inv)[0]
	if got := l.Asks(); !slices.Equal(got, inv.Hosts) {
		t.Fatalf("it asks %v", got)
	}
	for _, tt := range []struct {
		what    string
		facts   provision.Facts
		unasked bool
		certain bool
		stays   string
	}{
		{"it carries it", provision.Facts{"carries": {"frobnicator-production deploy-frobnicator"}}, false, false, "web1, which has that deployment or its user"},
		{"another one of its user", provision.Facts{"carries": {"x deploy-frobnicator"}}, false, false, "web1, which has that deployment or its user"},
		{"it holds the key", provision.Facts{"key": {"ssh-ed25519 AAAAapp3deploy-frobnicator"}}, false, false, "web1 holds it"},
		{"it does not answer", nil, true, false, "could not be asked"},
		{"it has none of it", provision.Facts{"carries": {"x y"}}, false, true, ""},
	} {
		held := &Held{}
		if tt.unasked {
			held.Lost("web1")
		} else {
			held.Add("web1", tt.facts)
		}
		if got := l.Certain(held); got != tt.certain {
			t.Errorf("%s: certain is %t", tt.what, got)
		}
		plan, err := provision.Check(t.Context(), provision.Target{Name: "app3", Forge: f}, ForgetHost(inv, "app3", "", held))
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, s := range plan {
			for _, n := range s.Notes {
				text += n.Text + "\n"
			}
		}
		if !strings.Contains(text, tt.stays) || tt.certain == (text != "") {
			t.Errorf("%s: the plan tells %q", tt.what, text)
		}
	}

	// A key of somebody, as ssh-keygen names it, is none of ours for sure.
	held := &Held{}
	held.Add("web1", nil)
	if err := f.AddDeployKey(t.Context(), old.Project, forge.DeployKey{Title: "bob@app3", Key: "ssh-ed25519 AAAAbob bob@app3"}); err != nil {
		t.Fatal(err)
	}
	if leftOf(t, f, inv)[0].Certain(held) {
		t.Error("the key of bob goes with it")
	}
}

// Which host holds what, the names do not tell: where a user has more than it has hosts,
// those are asked that have the user or the name. What nobody has used yet is not asked for.
func TestLeftUnheld(t *testing.T) {
	inv, _ := inventoryOf(t, "two-hosts")
	f := newFake()
	for _, d := range inv.Deployments {
		setLeft(t, f, d)
	}
	tokens := f.Made[group][forge.AccessToken]
	for i := range tokens {
		tokens[i].NeverUsed = false
	}
	if left := leftOf(t, f, inv); len(left) > 0 {
		t.Fatalf("each host has its own, and left is %+v", left)
	}
	setLeft(t, f, inv.Deployments[0])
	if left := leftOf(t, f, inv); len(left) > 0 {
		t.Fatalf("a token that nobody has used is left: %+v", left)
	}
	tokens = f.Made[group][forge.AccessToken]
	tokens[2].NeverUsed = false
	user := inv.Deployments[0].User
	if err := f.AddDeployKey(t.Context(), "transmogrify/frobnicator", forge.DeployKey{Title: user + "@web2", Key: "ssh-ed25519 AAAAthird " + user + "@web0"}); err != nil {
		t.Fatal(err)
	}
	login := func(i int) string { return loginPrefix + fmt.Sprint(tokens[i].ID) }
	key := func(i int) string { return keyOf(f.Keys["transmogrify/frobnicator"][i].Key) }
	held := func(facts map[string]provision.Facts) *Held {
		h := &Held{}
		for _, host := range inv.Hosts {
			if f, ok := facts[host.Name]; ok {
				h.Add(host.Name, f)
			} else {
				h.Lost(host.Name)
			}
		}
		return h
	}
	remains := func(h *Held) (left []Left) {
		for _, l := range leftOf(t, f, inv) {
			if asks := l.Asks(); len(asks) != 2 || l.Certain(h) {
				t.Errorf("%s: it asks %v, and is certain: %t", l.Host, asks, l.Certain(h))
			}
			if l = l.Without(h); !l.Empty() {
				left = append(left, l)
			}
		}
		return left
	}
	if left := remains(held(map[string]provision.Facts{"web1": {"token": {login(0)}, "key": {key(0)}}})); left != nil {
		t.Errorf("one host does not answer, and left is %+v", left)
	}
	if left := remains(held(map[string]provision.Facts{"web1": {"token": {login(0), login(2)}, "key": {key(0), key(1)}}, "web2": {"token": {login(1)}, "key": {key(2)}}})); left != nil {
		t.Errorf("all are held, and left is %+v", left)
	}
	// The two have exchanged names.
	h := held(map[string]provision.Facts{"web1": {"token": {login(1)}, "key": {key(0)}}, "web2": {"token": {login(2)}, "key": {key(2)}}})
	want := map[string]string{
		"web1": fmt.Sprint("RevokeToken group transmogrify access token ", tokens[0].ID),
		"web2": fmt.Sprint("RemoveDeployKey transmogrify/frobnicator ", f.Keys["transmogrify/frobnicator"][1].ID),
	}
	for _, l := range remains(h) {
		if text := l.Found().Notes[0].Text; !strings.HasSuffix(text, " with the name of "+l.Host+", and no host of the inventory holds it") {
			t.Errorf("it tells %q", text)
		}
		done, err := converge(t, ForgetHost(inv, l.Host, "", h)[0], f, &host{})
		checkDone(t, done, err, want[l.Host])
		delete(want, l.Host)
	}
	if left := remains(h); len(want) > 0 || left != nil {
		t.Errorf("not removed: %v, left: %+v", want, left)
	}
}

// removals are the calls that remove a token and a deploy key, by their title, and the
// variables of a scope.
func removals(f *forgetest.Fake, title, scope string) (calls []string) {
	for _, token := range f.Made[group][forge.AccessToken] {
		if token.Name == title {
			calls = append(calls, fmt.Sprint("RevokeToken group transmogrify access token ", token.ID))
		}
	}
	for _, k := range f.Keys["transmogrify/frobnicator"] {
		if k.Title == title {
			calls = append(calls, fmt.Sprint("RemoveDeployKey transmogrify/frobnicator ", k.ID))
		}
	}
	for _, base := range []string{"SSH_AUTH", "SSH_KNOWN_HOSTS", "SSH_DEPLOY_TARGET"} {
		calls = append(calls, "RemoveVariable group transmogrify "+base+" "+scope)
	}
	return calls
}

func TestForgetHost(t *testing.T) {
	inv, _ := inventoryOf(t, "")
	f := newFake()
	setLeft(t, f, inv.Deployments[0])
	gone := on(inv, "web2", "web2.example.com")
	setLeft(t, f, gone)
	second := *gone
	second.Name, second.Project, second.User, second.Scope = "second", "transmogrify/frobnicator", "deploy-second", "second"
	setLeft(t, f, &second)
	setLeft(t, f, on(inv, "web3", "web3.example.com"))
	held := &Held{}
	held.Add("web1", nil)

	for _, tt := range []struct{ deployment, user, scope string }{{"second", "deploy-second", "second"}, {"", "deploy-frobnicator", "production/web2"}} {
		want := removals(f, tt.user+"@web2", tt.scope)
		done, err := converge(t, ForgetHost(inv, "web2", tt.deployment, held)[0], f, &host{})
		checkDone(t, done, err, want...)
	}
	var hosts []string
	held.Add("web1", provision.Facts{"key": {"ssh-ed25519 AAAAweb1deploy-frobnicator"}})
	for _, l := range leftOf(t, f, inv) {
		if !l.Without(held).Empty() {
			hosts = append(hosts, l.Host)
		}
	}
	if !slices.Equal(hosts, []string{"web3"}) {
		t.Errorf("left are %v", hosts)
	}
	if n := len(f.Vars[group]); n != 6 {
		t.Errorf("GitLab has %d variables", n)
	}
}

// The users of one deployment of several: one that another deployment has stays.
func TestForgetHostSharedUser(t *testing.T) {
	inv, _ := inventoryOf(t, "")
	f := newFake()
	gone := on(inv, "web2", "web2.example.com")
	setLeft(t, f, gone)
	second := *gone
	second.Name, second.Scope = "second", "second"
	setLeft(t, f, &second)
	done, err := converge(t, ForgetHost(inv, "web2", "second", &Held{})[0], f, &host{})
	checkDone(t, done, err,
		"RemoveVariable group transmogrify SSH_AUTH second", "RemoveVariable group transmogrify SSH_KNOWN_HOSTS second", "RemoveVariable group transmogrify SSH_DEPLOY_TARGET second")
}

// What a host holds is seen in whatever form docker(1) writes it, and nothing secret is.
func TestHolds(t *testing.T) {
	needs.Root(t)
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		settings := filepath.Join(s.dir, "etc/provision/deployments")
		if err := os.MkdirAll(settings, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(settings, "shop"), []byte("user=deploy-frobnicator\ndirectory=shop\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		s.write(t, ".ssh/id_ed25519.pub", "ssh-ed25519 AAAAone provision:x\n", 0o644)
		login := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
		s.write(t, ".docker/config.json", fmt.Sprintf("{\n\t\"auths\": {\n\t\t\"a\": {\"auth\": %q},\n\t\t\"b\": { \"auth\" : %q, \"email\": \"\" }, \"c\": {\n\t\t\t\"auth\": %q\n\t\t}\n\t}\n}", login("provision-17:hunter2"), login("gitlab+deploy-token-3:hunter2"), login("bob:hunter2")), 0o600)
		s.write(t, ".docker/by-provision/d", "provision-18\n", 0o600)
		seen, err := provision.Look(t.Context(), s.target(newFake()), []provision.Step{Holds()})
		if err != nil {
			t.Fatal(err)
		}
		want := provision.Facts{"carries": {"shop deploy-frobnicator"}, "key": {"ssh-ed25519 AAAAone"}, "token": {"provision-17", "gitlab+deploy-token-3", "provision-18"}}
		if got := seen.Of("holds"); !reflect.DeepEqual(got, want) {
			t.Errorf("saw %v, want %v", got, want)
		}
	})
}
