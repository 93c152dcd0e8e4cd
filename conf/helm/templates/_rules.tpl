{{/* What has to fit together in the values. The schema cannot name what is missing, so these are here, each with its sentence. */}}
{{- define "berth.rules" -}}
{{- $v := .Values -}}
{{- $registry := $v.grokRegistryProxy.enabled -}}
{{- $hasName := or (and $v.server.enabled $v.ingress.host) (and $registry $v.ingress.registryHost) -}}
{{- if not (or $v.server.enabled $v.spawner.enabled $registry) }}{{ fail "Nothing is enabled: set server.enabled, spawner.enabled or grokRegistryProxy.enabled." }}{{ end -}}
{{- if and $registry (not (or (hasKey $v.grokRegistryProxy.env "REGISTRY_URL") (hasKey $v.grokRegistryProxy.env "ECR_MODE"))) }}{{ fail "The registry proxy needs a registry: set grokRegistryProxy.env.REGISTRY_URL (or ECR_MODE), or grokRegistryProxy.enabled=false." }}{{ end -}}
{{- if and $registry (not $v.server.enabled) (not (hasKey $v.grokRegistryProxy.env "DATAGROK_URL")) }}{{ fail "The registry proxy needs a server that knows its users: set grokRegistryProxy.env.DATAGROK_URL, or server.enabled=true." }}{{ end -}}
{{- if and $v.ingress.enabled (not $hasName) }}{{ fail "The Ingress needs a name: set ingress.host (with the server) or ingress.registryHost (with the registry proxy)." }}{{ end -}}
{{- if and $v.httpRoute.enabled (not (and $hasName $v.httpRoute.parentRefs)) }}{{ fail "The HTTPRoute needs a name and a Gateway: set ingress.host or ingress.registryHost, and httpRoute.parentRefs." }}{{ end -}}
{{- if and $v.tls.issuer.name (not $hasName) }}{{ fail "A certificate of cert-manager needs a name: set ingress.host or ingress.registryHost." }}{{ end -}}
{{- if and $v.gateway.tls (not (and $v.ingress.host (or $v.tls.secretName $v.tls.issuer.name))) }}{{ fail "gateway.tls needs a certificate and its name: set tls.secretName or tls.issuer.name, and ingress.host." }}{{ end -}}
{{- if and (eq $v.driver "spawner") $v.spawner.enabled }}{{ fail "A spawner cannot deploy through another one: set spawner.enabled=false with driver=spawner." }}{{ end -}}
{{- end -}}
