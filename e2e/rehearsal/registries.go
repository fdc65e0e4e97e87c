package rehearsal

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"provision/e2e/lab"
	"provision/inventory"
	"provision/provision/secret"
)

// startOthers starts the further registries, each with a CA and a login of its own.
// Docker Hub cannot be had in the lab, and goes out of the inventory.
func (w *World) startOthers(ctx context.Context) error {
	gone := func(r *inventory.Registry) bool { return r.Host == "docker.io" }
	w.Inventory.Registries = slices.DeleteFunc(w.Inventory.Registries, gone)
	for _, d := range w.Inventory.Deployments {
		d.Registries = slices.DeleteFunc(slices.Clone(d.Registries), gone)
	}
	for _, r := range w.Inventory.Registries {
		ca, err := lab.NewCA("the CA of " + r.Name)
		if err != nil {
			return err
		}
		o := lab.RegistryOptions{Name: r.Host, Address: w.addresses[strings.Split(r.Host, ":")[0]], CA: ca}
		if r.Credential.Kind == inventory.Named {
			o.Username, o.Password = r.Credential.Username, rand.Text()
			if r.Credential.Password, err = w.keep("registry-"+r.Name, secret.New(o.Password)); err != nil {
				return err
			}
		}
		if w.Others[r.Name], err = w.Lab.NewRegistry(ctx, o); err != nil {
			return err
		}
		r.CA = ca.PEM()
	}
	return nil
}

// PushTo pushes an image to a further registry, with the tag latest if it has none.
func (w *World) PushTo(ctx context.Context, name string, i lab.Image) error {
	if i.Tag == "" {
		i.Tag = "latest"
	}
	_, err := w.Others[name].Push(ctx, i, func(context.Context, string) (string, error) { return "the login", nil })
	return err
}
