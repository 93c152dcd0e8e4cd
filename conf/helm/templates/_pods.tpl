{{/* The pods, their ports and their settings. Deployments, Services, routes and policies all read them here. */}}

{{/* `value`: the block of the values. `probe`: the port of the health checks. */}}
{{- define "berth.pods" -}}
{{- $name := include "berth.name" . -}}
{{- if .Values.server.enabled }}
{{- /* A standby is ready too: else a rollout of two would never end. Gateways find the leader themselves. */}}
- { value: control, role: control, component: control, name: {{ $name }}-control, probe: gateways, scheme: HTTPS, ready: {{ ternary "/livez" "/readyz" (eq (include "berth.hasDatabase" .) "yes") }}, alive: /livez }
- { value: gateway, role: gateway, component: gateway, name: {{ $name }}-gateway, probe: edge, scheme: {{ ternary "HTTPS" "HTTP" .Values.gateway.tls }}, ready: /readyz, alive: /healthz }
{{- end }}
{{- if .Values.spawner.enabled }}
- { value: spawner, role: spawner, component: spawner, name: {{ $name }}-spawner, probe: spawner, scheme: HTTP, ready: /info, alive: /info }
{{- end }}
{{- if .Values.grokRegistryProxy.enabled }}
- { value: grokRegistryProxy, role: registry-proxy, component: registry-proxy, name: {{ $name }}-registry, probe: registry, scheme: HTTP, ready: /readyz, alive: /healthz }
{{- end }}
{{- end -}}

{{/* The ports that have a Service of their own. `value`: the block that names it. `from`: the list of `networkPolicy`. */}}
{{- define "berth.ports" -}}
{{- $name := include "berth.name" . -}}
{{- if .Values.server.enabled }}
- { value: gateway, port: 8080, name: edge, service: {{ $name }}, component: gateway, from: edgeFrom }
{{- /* In front of a Datagrok server berth has no console. */}}
{{- if not (hasKey .Values.server.env "DATAGROK_URL") }}
{{- /* With a database the gateways have it, by its name: a Service cannot tell the leader from a standby. */}}
{{- if include "berth.hasDatabase" . }}
- { value: console, port: 8080, name: edge, service: {{ $name }}-console, component: gateway, from: consoleFrom }
{{- else }}
- { value: console, port: 8081, name: console, service: {{ $name }}-console, component: control, from: consoleFrom }
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.spawner.enabled }}
- { value: spawner, port: 8000, name: spawner, service: {{ $name }}-spawner, component: spawner, from: spawnerFrom }
{{- end }}
{{- if .Values.grokRegistryProxy.enabled }}
- { value: grokRegistryProxy, port: 5000, name: registry, service: {{ $name }}-registry, component: registry-proxy, from: registryFrom }
{{- end }}
{{- end -}}

{{/* The TCP listeners' first and last port, and their Service; empty: there are none. */}}
{{- define "berth.tcp" -}}
{{- if and .Values.server.enabled .Values.tcp.ports -}}
{{- $ports := splitList "-" .Values.tcp.ports -}}
{{- $count := add1 (sub (int (last $ports)) (int (first $ports))) -}}
{{- if or (lt $count 1) (gt $count 250) }}{{ fail (printf "tcp.ports is %s: name 1 to 250 ports, such as 20000-20019" .Values.tcp.ports) }}{{ end -}}
{ first: {{ first $ports }}, last: {{ last $ports }}, service: {{ .Values.tcp.service.name | default (printf "%s-tcp" (include "berth.name" .)) }} }
{{- end -}}
{{- end -}}

{{/* A pod's settings: what follows from the values, then what is given, which wins. */}}
{{- define "berth.env" -}}
{{- $root := .root -}}
{{- $v := .root.Values -}}
{{- $role := .pod.role -}}
{{- $anyAddress := ternary "::" "0.0.0.0" $v.ipv6 -}}
{{- $env := dict
  "BERTH_ROLE" $role
  "BERTH_HOST" $anyAddress
  "BERTH_METRICS_HOST" $anyAddress
  "BERTH_METRICS_PORT" "9464"
  "BERTH_DRAIN_DELAY_SECONDS" (toString $v.drainDelaySeconds)
  "BERTH_DRAIN_SECONDS" (toString $v.drainSeconds)
  "HOME" "/tmp" -}}
{{/* The volume's own folder belongs to root, and berth needs one of its own: it creates that itself. */}}
{{- $_ := set $env "BERTH_DATA" "/var/lib/berth/data" -}}
{{/* Here Docker's ranges of addresses may be those of pods. */}}
{{- $_ := set $env "BERTH_PRIVATE_FROM_CONTAINERS" "on" -}}
{{- if has $role (list "control" "spawner") -}}
  {{- $_ := set $env "BERTH_DRIVER" $v.driver -}}
  {{- $_ := set $env "GROK_SPAWNER_ENVIRONMENT" (include "berth.name" $root) -}}
  {{- if eq $v.driver "kubernetes" -}}
    {{- $_ := set $env "GROK_SPAWNER_KUBERNETES__NAMESPACE" (include "berth.namespace" $root) -}}
    {{- with $v.containers.pullSecret }}{{ $_ := set $env "GROK_SPAWNER_KUBERNETES__DOCKER_AUTH" . }}{{ end -}}
    {{- range $host := list "cvm" "datagrok" -}}
      {{- range $name, $value := get $v.containers $host -}}
        {{- if $value -}}
          {{- $_ := set $env (printf "BERTH_KUBERNETES_%s_%s" (upper $host) (snakecase $name | upper)) (kindIs "string" $value | ternary $value (toJson $value)) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
  {{- if $v.server.enabled }}{{ $_ := set $env "GROK_SPAWNER_DATAGROK_API_URL" (include "berth.apiUrl" $root) }}{{ end -}}
  {{/* They resolve images in the registry that the proxy is in front of. */}}
  {{- if $v.grokRegistryProxy.enabled -}}
    {{- range $name, $value := $v.grokRegistryProxy.env }}{{ if regexMatch "^(REGISTRY_(URL|USERNAME)$|ECR_MODE$|AWS_)" $name }}{{ $_ := set $env $name $value }}{{ end }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- if and (has $role (list "spawner" "registry-proxy")) $v.server.enabled -}}
  {{/* Who the users are: the server that berth is in front of, else berth. */}}
  {{- $_ := set $env "DATAGROK_URL" (get $v.server.env "DATAGROK_URL" | default (include "berth.apiUrl" $root)) -}}
{{- end -}}
{{- if has $role (list "control" "gateway") -}}
  {{- with include "berth.tcp" $root | fromYaml -}}
    {{- $_ := set $env "BERTH_TCP_PORTS" $v.tcp.ports -}}
    {{- $_ := set $env "BERTH_TCP_HOST" $anyAddress -}}
    {{- $_ := set $env "BERTH_TCP_ADVERTISED_HOST" (printf "%s.%s.svc" .service $root.Release.Namespace) -}}
    {{- with $v.tcp.images }}{{ $_ := set $env "BERTH_TCP_IMAGES" (join "," .) }}{{ end -}}
  {{- end -}}
  {{- $scheme := include "berth.scheme" $root -}}
  {{- with include "berth.host" $root }}{{ $_ := set $env "BERTH_WEB_ROOT" (printf "%s://%s" $scheme .) }}{{ end -}}
  {{- if not (hasKey $v.server.env "DATAGROK_URL") -}}
    {{- if include "berth.hasDatabase" $root -}}
      {{- $_ := set $env "BERTH_CONSOLE_HOST" (include "berth.consoleHost" $root | default (printf "%s.%s.svc" ($v.console.service.name | default (printf "%s-console" (include "berth.name" $root))) $root.Release.Namespace)) -}}
      {{- if not (include "berth.host" $root) }}{{ $_ := set $env "BERTH_WEB_ROOT" (printf "http://%s:8080" (include "berth.edgeHost" $root)) }}{{ end -}}
    {{- else if include "berth.consoleHost" $root -}}
      {{- $_ := set $env "BERTH_CONSOLE_URL" (printf "%s://%s" $scheme (include "berth.consoleHost" $root)) -}}
    {{- end -}}
  {{- end -}}
  {{- $_ := set $env "BERTH_CONTROL_TOKEN_FILE" "/etc/berth/gateways/token" -}}
{{- end -}}
{{- if eq $role "control" -}}
  {{- $_ := set $env "BERTH_GATEWAYS_PORT" "8443" -}}
  {{- $_ := set $env "BERTH_GATEWAYS_TLS_CERT" "/etc/berth/gateways/tls.crt" -}}
  {{- $_ := set $env "BERTH_GATEWAYS_TLS_KEY" "/etc/berth/gateways/tls.key" -}}
  {{- with $v.database -}}
    {{- if .existingSecret -}}
      {{/* Standbys name it to gateways, with brackets where it is IPv6. */}}
      {{- $_ := set $env "BERTH_GATEWAYS_HOST" "$(POD_IP)" -}}
      {{- $_ := set $env "BERTH_DATABASE_URL_FILE" "/etc/berth/database/url" -}}
      {{- if .passwordKey }}{{ $_ := set $env "BERTH_DATABASE_PASSWORD_FILE" "/etc/berth/database/password" }}{{ end -}}
      {{- if .caKey }}{{ $_ := set $env "BERTH_DATABASE_CA" "/etc/berth/database/ca.crt" }}{{ end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if eq $role "gateway" -}}
  {{- $_ := set $env "BERTH_CONTROL" (printf "https://%s:8443" (include "berth.controlHost" $root)) -}}
  {{- $_ := set $env "BERTH_CONTROL_CA" "/etc/berth/gateways/ca.crt" -}}
  {{/* While a Deployment replaces a single control process, requests that need it wait. */}}
  {{- $_ := set $env "BERTH_CONTROL_WAIT" "on" -}}
  {{- if $v.gateway.tls -}}
    {{- $_ := set $env "BERTH_TLS_CERT" "/etc/berth/tls/tls.crt" -}}
    {{- $_ := set $env "BERTH_TLS_KEY" "/etc/berth/tls/tls.key" -}}
  {{- end -}}
{{- end -}}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (ne $role "spawner") -}}
  {{- $_ := set $env "BERTH_TRUSTED_PROXIES" $v.ingress.trustedProxies -}}
  {{/* A load balancer must close an idle connection first, or it sends a request to one that is being closed. */}}
  {{- $_ := set $env "BERTH_KEEP_ALIVE_TIMEOUT" (printf "%d000" (add 10 (min (int $v.ingress.timeoutSeconds) 4000))) -}}
{{- end -}}
{{- if has $role (list "control" "gateway") }}{{ $env = mergeOverwrite $env (deepCopy ($v.server.env | default dict)) }}{{ end -}}
{{- $env = mergeOverwrite $env (deepCopy ((get $v .pod.value).env | default dict)) -}}
{{- if and (eq $role "control") (include "berth.hasDatabase" $root) }}
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
{{- end }}
{{- range $name := keys $env | sortAlpha }}
- name: {{ $name }}
  value: {{ get $env $name | quote }}
{{- end }}
{{- end -}}

{{/* A pod's volumes; `mountPath` is where the container has each. */}}
{{- define "berth.volumes" -}}
{{- $v := .root.Values -}}
{{- $isControl := eq .pod.role "control" -}}
{{- $hasDatabase := include "berth.hasDatabase" .root -}}
- mountPath: /var/lib/berth
  volume:
    name: data
    {{- if and $isControl $v.persistence.enabled (not $hasDatabase) }}
    persistentVolumeClaim: { claimName: {{ $v.persistence.existingClaim | default (include "berth.name" .root) }} }
    {{- else }}
    emptyDir: {}
    {{- end }}
- mountPath: /tmp
  volume: { name: tmp, emptyDir: {} }
{{- if has .pod.role (list "control" "gateway") }}
- mountPath: /etc/berth/gateways
  volume:
    name: gateways
    projected:
      sources:
        - secret:
            name: {{ $v.control.tokenSecret | default (include "berth.gatewaysSecret" .root) }}
            items: [{ key: token, path: token }]
        - secret:
            name: {{ include "berth.controlTlsSecret" .root }}
            items:
              {{- if $isControl }}
              - { key: tls.crt, path: tls.crt }
              - { key: tls.key, path: tls.key }
              {{- else }}
              - { key: ca.crt, path: ca.crt }
              {{- end }}
{{- end }}
{{- if and (eq .pod.role "gateway") $v.gateway.tls }}
- mountPath: /etc/berth/tls
  volume: { name: tls, secret: { secretName: {{ include "berth.tlsSecret" .root }} } }
{{- end }}
{{- if and $isControl $hasDatabase }}
- mountPath: /etc/berth/database
  volume:
    name: database
    secret:
      secretName: {{ $v.database.existingSecret }}
      items:
        - { key: {{ $v.database.urlKey }}, path: url }
        {{- with $v.database.passwordKey }}
        - { key: {{ . }}, path: password }
        {{- end }}
        {{- with $v.database.caKey }}
        - { key: {{ . }}, path: ca.crt }
        {{- end }}
{{- end }}
{{- if and $isControl $v.persistence.backupClaim }}
- mountPath: /backup
  volume: { name: backup, persistentVolumeClaim: { claimName: {{ $v.persistence.backupClaim }} } }
{{- end }}
{{- end -}}
