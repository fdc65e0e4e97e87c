package gitlabtest

// routes says what is served, and with which scopes besides api.
func (g *GitLab) routes() {
	g.mux.HandleFunc("/", g.unknownRoute)
	g.mux.HandleFunc("GET /jwt/auth", g.registryToken)

	see := route{scopes: []string{"ai_workflows"}, public: true}
	rotate := route{scopes: []string{"api", "self_rotate"}}

	g.handle("GET /version", version, route{scopes: []string{"read_user", "ai_features"}})
	g.handle("GET /metadata", version, route{scopes: []string{"read_user", "ai_features"}})
	g.handle("GET /user", showMe, route{scopes: []string{"read_user", "ai_workflows"}})
	g.handle("POST /user/keys", createUserKey, route{})
	g.handle("POST /user/personal_access_tokens", createMyToken, route{})
	g.handle("POST /users", createUser, route{})
	g.handle("POST /users/{id}/personal_access_tokens", createTokenOf, route{})

	g.handle("GET /groups", listGroups, see)
	g.handle("POST /groups", createGroup, route{})
	g.handle("GET /groups/{id}", showGroup, see)
	g.handle("PUT /groups/{id}", updateGroup, route{})
	g.handle("GET /groups/{id}/subgroups", listSubgroups, see)
	g.handle("GET /groups/{id}/descendant_groups", listSubgroups, see)
	g.handle("GET /groups/{id}/projects", listGroupProjects, see)

	g.handle("GET /projects", listProjects, see)
	g.handle("POST /projects", createProject, route{})
	g.handle("GET /projects/{id}", showProject, see)
	g.handle("PUT /projects/{id}", updateProject, route{})

	for _, kind := range []string{"group", "project"} {
		of := "/" + kind + "s/{id}/"
		g.handle("GET "+of+"members/all", listMembers(kind), route{})
		g.handle("POST "+of+"members", addMember(kind), route{})

		g.handle("GET "+of+"variables", listVariables(kind), route{})
		g.handle("POST "+of+"variables", createVariable(kind), route{})
		g.handle("GET "+of+"variables/{key}", showVariable(kind), route{})
		g.handle("PUT "+of+"variables/{key}", updateVariable(kind), route{})
		g.handle("DELETE "+of+"variables/{key}", deleteVariable(kind), route{})

		g.handle("GET "+of+"access_tokens", listAccessTokens(kind), route{})
		g.handle("POST "+of+"access_tokens", createAccessToken(kind), route{})
		g.handle("GET "+of+"access_tokens/{token}", showAccessToken(kind), route{})
		g.handle("DELETE "+of+"access_tokens/{token}", revokeAccessToken(kind), route{})
		g.handle("POST "+of+"access_tokens/{token}/rotate", rotateAccessToken(kind), route{})
		g.handle("POST "+of+"access_tokens/self/rotate", rotateSelf(kind), rotate)

		g.handle("GET "+of+"deploy_tokens", listDeployTokens(kind), route{})
		g.handle("POST "+of+"deploy_tokens", createDeployToken(kind), route{})
		g.handle("GET "+of+"deploy_tokens/{token}", showDeployToken(kind), route{})
		g.handle("DELETE "+of+"deploy_tokens/{token}", deleteDeployToken(kind), route{})
	}
	g.handle("GET /admin/ci/variables", listVariables("instance"), route{})
	g.handle("POST /admin/ci/variables", createVariable("instance"), route{})
	g.handle("DELETE /admin/ci/variables/{key}", deleteVariable("instance"), route{})
	g.handle("GET /deploy_tokens", listAllDeployTokens, route{})

	g.handle("GET /projects/{id}/deploy_keys", listDeployKeys, route{})
	g.handle("POST /projects/{id}/deploy_keys", createDeployKey, route{})
	g.handle("GET /projects/{id}/deploy_keys/{key}", showDeployKey, route{})
	g.handle("PUT /projects/{id}/deploy_keys/{key}", updateDeployKey, route{})
	g.handle("DELETE /projects/{id}/deploy_keys/{key}", deleteDeployKey, route{})
	g.handle("POST /projects/{id}/deploy_keys/{key}/enable", enableDeployKey, route{})
	g.handle("GET /deploy_keys", listAllDeployKeys, route{})

	g.handle("GET /projects/{id}/repository/compare", compareRefs, route{})

	g.handle("GET /projects/{id}/protected_branches", listBranches, route{})
	g.handle("POST /projects/{id}/protected_branches", protectBranch, route{})
	g.handle("GET /projects/{id}/protected_branches/{name}", showBranch, route{})
	g.handle("DELETE /projects/{id}/protected_branches/{name}", unprotectBranch, route{})

	g.handle("GET /personal_access_tokens", listTokens, route{})
	g.handle("GET /personal_access_tokens/self", showSelf, route{anyScope: true})
	g.handle("DELETE /personal_access_tokens/self", revokeSelf, route{anyScope: true})
	g.handle("POST /personal_access_tokens/self/rotate", rotateSelf(""), rotate)
	g.handle("GET /personal_access_tokens/{id}", showToken, route{})
	g.handle("DELETE /personal_access_tokens/{id}", revokeToken, route{})
	g.handle("POST /personal_access_tokens/{id}/rotate", rotateToken, route{})
	g.handle("GET /personal_access_tokens/self/associations", listAssociations, route{})
}

func version(c *call) (any, error) {
	return object{
		"version": "18.9.0-pre", "revision": "Unknown", "enterprise": c.g.config.Edition == EEFree,
		"kas": object{"enabled": false, "externalUrl": nil, "externalK8sProxyUrl": nil, "version": nil},
	}, nil
}
