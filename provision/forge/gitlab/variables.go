package gitlab

import (
	"context"
	"errors"
	"fmt"
	"slices"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
)

func variablesOf(owner forge.Owner) string { return "variables of " + owner.String() }

// Variables implements [forge.Forge].
func (c *Client) Variables(ctx context.Context, owner forge.Owner) ([]forge.Variable, error) {
	question := variablesOf(owner)
	variables, err := remember(ctx, &c.memo, question, func(ctx context.Context) ([]forge.Variable, error) {
		found, err := pages(c, question, func(o gl.ListOptions) ([]*gl.ProjectVariable, *gl.Response, error) {
			if owner.Kind == forge.ProjectOwner {
				return c.lib.ProjectVariables.ListVariables(owner.Path, &gl.ListProjectVariablesOptions{ListOptions: o}, gl.WithContext(ctx))
			}
			ofGroup, resp, err := c.lib.GroupVariables.ListVariables(owner.Path, &gl.ListGroupVariablesOptions{ListOptions: o}, gl.WithContext(ctx))
			var same []*gl.ProjectVariable
			for _, v := range ofGroup {
				same = append(same, (*gl.ProjectVariable)(v))
			}
			return same, resp, err
		})
		var variables []forge.Variable
		for _, v := range found {
			variables = append(variables, fromVariable(v))
		}
		if owner.Kind == forge.ProjectOwner {
			err = c.near(ctx, owner.Path, err)
		} else if errors.Is(err, forge.ErrForbidden) {
			err = hint.Add(err, "variables of a group are for its Owners: let one of them make the token")
		} else {
			err = advise(err, owner)
		}
		return variables, err
	})
	return slices.Clone(variables), err
}

func fromVariable(v *gl.ProjectVariable) forge.Variable {
	variable := forge.Variable{
		Key:         v.Key,
		File:        v.VariableType == gl.FileVariableType,
		Protected:   v.Protected,
		Masked:      v.Masked,
		Hidden:      v.Hidden,
		Raw:         v.Raw,
		Scope:       v.EnvironmentScope,
		Description: v.Description,
	}
	if !v.Hidden {
		variable.Value = secret.New(v.Value)
	}
	return variable
}

// SetVariable implements [forge.Forge]. An empty scope means "*". In a
// variable that exists already a zero Value and an empty Description leave
// alone what is there.
func (c *Client) SetVariable(ctx context.Context, owner forge.Owner, v forge.Variable) error {
	if v.Scope == "" {
		v.Scope = "*"
	}
	asked := fmt.Sprintf("set variable %s (%s) of %s", v.Key, v.Scope, owner)
	// What was read for the plan may be old. A PUT to a group whose filter
	// matches nothing would change the variable of another scope.
	c.memo.forget(variablesOf(owner))
	there, err := c.Variables(ctx, owner)
	if err != nil {
		return err
	}
	defer c.memo.forget(variablesOf(owner))
	i := slices.IndexFunc(there, func(o forge.Variable) bool { return o.Key == v.Key && o.Scope == v.Scope })
	if i >= 0 {
		return c.updateVariable(ctx, asked, owner, there[i], v)
	}
	err = c.createVariable(ctx, asked, owner, v)
	otherScope := slices.ContainsFunc(there, func(o forge.Variable) bool { return o.Key == v.Key })
	if errors.Is(err, forge.ErrTaken) && owner.Kind == forge.GroupOwner && otherScope && !c.exists(ctx, owner, v) {
		return failed(asked, fmt.Sprintf("%v, and nothing was changed", forge.ErrScope), forge.ErrScope)
	}
	return err
}

// exists looks whether somebody else has made v meanwhile.
func (c *Client) exists(ctx context.Context, owner forge.Owner, v forge.Variable) bool {
	c.memo.forget(variablesOf(owner))
	there, err := c.Variables(ctx, owner)
	return err != nil || slices.ContainsFunc(there, func(o forge.Variable) bool { return o.Key == v.Key && o.Scope == v.Scope })
}

func (c *Client) updateVariable(ctx context.Context, asked string, owner forge.Owner, there, v forge.Variable) error {
	if there.Hidden != v.Hidden {
		return failed(asked, fmt.Sprintf("hidden is %t there, and GitLab never changes that: remove the variable first", there.Hidden), nil)
	}
	o := &gl.UpdateProjectVariableOptions{
		VariableType: variableType(v),
		Protected:    &v.Protected,
		Raw:          &v.Raw,
		Filter:       &gl.VariableFilter{EnvironmentScope: v.Scope},
	}
	if !v.Hidden { // a hidden one is masked, and GitLab refuses to be told
		o.Masked = &v.Masked
	}
	if v.Description != "" {
		o.Description = &v.Description
	}
	if !v.Value.IsZero() {
		text, err := v.Value.Reveal()
		if err != nil {
			return fmt.Errorf("%s: %w", asked, err)
		}
		o.Value = &text
	}
	var got *gl.ProjectVariable
	var resp *gl.Response
	var err error
	if owner.Kind == forge.ProjectOwner {
		got, resp, err = c.lib.ProjectVariables.UpdateVariable(c.moved.project(owner.Path), v.Key, o, gl.WithContext(ctx))
	} else {
		var ofGroup *gl.GroupVariable
		ofGroup, resp, err = c.lib.GroupVariables.UpdateVariable(owner.Path, v.Key, (*gl.UpdateGroupVariableOptions)(o), gl.WithContext(ctx))
		got = (*gl.ProjectVariable)(ofGroup)
	}
	if err := c.explain(asked, resp, err, v.Value); err != nil {
		return advise(err, owner)
	}
	if got.EnvironmentScope != v.Scope {
		return failed(asked, fmt.Sprintf("GitLab has changed the one of scope %q instead: look at it, and set it right by hand", clean(got.EnvironmentScope)), nil)
	}
	return nil
}

func (c *Client) createVariable(ctx context.Context, asked string, owner forge.Owner, v forge.Variable) error {
	text, err := v.Value.Reveal()
	if err != nil {
		return fmt.Errorf("%s: %w", asked, err)
	}
	o := &gl.CreateProjectVariableOptions{
		Key:              &v.Key,
		Value:            &text,
		VariableType:     variableType(v),
		Protected:        &v.Protected,
		Raw:              &v.Raw,
		EnvironmentScope: &v.Scope,
		Description:      &v.Description,
	}
	if v.Hidden {
		o.MaskedAndHidden = &v.Hidden
	} else {
		o.Masked = &v.Masked
	}
	var got *gl.ProjectVariable
	var resp *gl.Response
	if owner.Kind == forge.ProjectOwner {
		got, resp, err = c.lib.ProjectVariables.CreateVariable(c.moved.project(owner.Path), o, gl.WithContext(ctx))
	} else {
		var ofGroup *gl.GroupVariable
		ofGroup, resp, err = c.lib.GroupVariables.CreateVariable(owner.Path, (*gl.CreateGroupVariableOptions)(o), gl.WithContext(ctx))
		got = (*gl.ProjectVariable)(ofGroup)
	}
	if err := c.explain(asked, resp, err, v.Value); err != nil {
		return advise(err, owner)
	}
	if got.EnvironmentScope == v.Scope {
		return nil
	}
	// A GitLab without scopes for groups drops the scope without a word, and
	// every job of the group would get this variable. The undoing must not
	// stop half way when the run is stopped.
	if err := c.removeVariable(context.WithoutCancel(ctx), asked, owner, v.Key, got.EnvironmentScope); err != nil {
		return failed(asked, fmt.Sprintf("GitLab has stored it for scope %q, and it could not be removed again: remove it by hand: %v", clean(got.EnvironmentScope), err), err)
	}
	return failed(asked, fmt.Sprintf("%v; what it stored was removed again", forge.ErrScope), forge.ErrScope)
}

func variableType(v forge.Variable) *gl.VariableTypeValue {
	if v.File {
		return gl.Ptr(gl.FileVariableType)
	}
	return gl.Ptr(gl.EnvVariableType)
}

// RemoveVariable implements [forge.Forge].
func (c *Client) RemoveVariable(ctx context.Context, owner forge.Owner, key, scope string) error {
	defer c.memo.forget(variablesOf(owner))
	return c.removeVariable(ctx, fmt.Sprintf("remove variable %s (%s) of %s", key, scope, owner), owner, key, scope)
}

func (c *Client) removeVariable(ctx context.Context, asked string, owner forge.Owner, key, scope string) error {
	filter := &gl.VariableFilter{EnvironmentScope: scope}
	var resp *gl.Response
	var err error
	if owner.Kind == forge.ProjectOwner {
		resp, err = c.lib.ProjectVariables.RemoveVariable(c.moved.project(owner.Path), key, &gl.RemoveProjectVariableOptions{Filter: filter}, gl.WithContext(ctx))
	} else {
		resp, err = c.lib.GroupVariables.RemoveVariable(owner.Path, key, &gl.RemoveGroupVariableOptions{Filter: filter}, gl.WithContext(ctx))
	}
	return advise(c.explain(asked, resp, err), owner)
}
