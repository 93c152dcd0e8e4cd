{{/* What the chart consists of. Every part of a pod is asked of here, so that Deployment, Services, Ingress and policies agree. */}}

{{- define "berth.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "berth.namespace" -}}
{{- .Values.containers.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "berth.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "berth.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end -}}

{{/* Whether a pod of the release speaks with the cluster. */}}
{{- define "berth.deploys" -}}
{{- if and (eq .Values.driver "kubernetes") (or .Values.server.enabled .Values.spawner.enabled) }}yes{{ end -}}
{{- end -}}

{{- define "berth.selector" -}}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Not `managed-by: berth`, by which the driver knows what it has made itself. */}}
{{- define "berth.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The ports by the value that opens them: what listens there, and the pod that it is in. */}}
{{- define "berth.ports" -}}
{{- $alone := not .Values.server.enabled -}}
{{- if .Values.server.enabled }}
- { value: server, port: 8080, name: edge, service: {{ include "berth.name" . }}, component: server, from: edgeFrom }
{{- /* In front of a Datagrok server berth has no console. */}}
{{- if not (hasKey .Values.server.env "DATAGROK_URL") }}
- { value: console, port: 8081, name: console, service: {{ include "berth.name" . }}-console, component: server, from: consoleFrom }
{{- end }}
{{- end }}
{{- if .Values.spawner.enabled }}
- { value: spawner, port: 8000, name: spawner, service: {{ include "berth.name" . }}-spawner, component: {{ ternary "spawner" "server" $alone }}, from: spawnerFrom }
{{- end }}
{{- if .Values.grokRegistryProxy.enabled }}
- { value: grokRegistryProxy, port: 5000, name: registry, service: {{ include "berth.name" . }}-registry, component: {{ ternary "registry-proxy" "server" $alone }}, from: registryFrom }
{{- end }}
{{- end -}}

{{/* The TCP listeners' first and last port, and their Service; empty where there are none. */}}
{{- define "berth.tcp" -}}
{{- if and .Values.server.enabled .Values.tcp.ports -}}
{{- $ports := splitList "-" .Values.tcp.ports -}}
{{- $count := add1 (sub (int (last $ports)) (int (first $ports))) -}}
{{- if or (lt $count 1) (gt $count 250) }}{{ fail (printf "tcp.ports is %s: name 1 to 250 ports, such as 20000-20019" .Values.tcp.ports) }}{{ end -}}
{ first: {{ first $ports }}, last: {{ last $ports }}, service: {{ .Values.tcp.service.name | default (printf "%s-tcp" (include "berth.name" .)) }} }
{{- end -}}
{{- end -}}

{{/* The pods: one with the server and what is beside it, or one for each that is alone. */}}
{{- define "berth.pods" -}}
{{- if .Values.server.enabled }}
- { value: server, role: serve, component: server, name: {{ include "berth.name" . }}, probe: edge, ready: /readyz, alive: /healthz }
{{- else }}
{{- if .Values.spawner.enabled }}
- { value: spawner, role: spawner, component: spawner, name: {{ include "berth.name" . }}-spawner, probe: spawner, ready: /info, alive: /info }
{{- end }}
{{- if .Values.grokRegistryProxy.enabled }}
- { value: grokRegistryProxy, role: registry-proxy, component: registry-proxy, name: {{ include "berth.name" . }}-registry, probe: registry, ready: /readyz, alive: /healthz }
{{- end }}
{{- end }}
{{- end -}}

{{/* A pod's settings: what follows from the values, then what is given, which wins. */}}
{{- define "berth.env" -}}
{{- $root := .root -}}
{{- $v := .root.Values -}}
{{- $env := dict
  "BERTH_ROLE" .pod.role
  "BERTH_HOST" "0.0.0.0"
  "BERTH_DRAIN_DELAY_SECONDS" (toString $v.drainDelaySeconds)
  "BERTH_DRAIN_SECONDS" (toString $v.drainSeconds)
  "HOME" "/tmp" -}}
{{/* The volume's own folder belongs to root, and berth wants one that is its alone: it makes that itself. */}}
{{- $_ := set $env "BERTH_DATA" "/var/lib/berth/data" -}}
{{- if ne .pod.role "registry-proxy" -}}
  {{- $_ := set $env "BERTH_DRIVER" $v.driver -}}
  {{- $_ := set $env "GROK_SPAWNER_ENVIRONMENT" (include "berth.name" $root) -}}
  {{- if eq $v.driver "kubernetes" -}}
    {{- $_ := set $env "GROK_SPAWNER_KUBERNETES__NAMESPACE" (include "berth.namespace" $root) -}}
    {{- with $v.containers.pullSecret }}{{ $_ := set $env "GROK_SPAWNER_KUBERNETES__DOCKER_AUTH" . }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- if eq .pod.role "serve" -}}
  {{- $_ := set $env "GROK_SPAWNER_DATAGROK_API_URL" (printf "http://%s.%s.svc:8080/api" ($v.server.service.name | default (include "berth.name" $root)) $root.Release.Namespace) -}}
  {{- if $v.spawner.enabled }}{{ $_ := set $env "BERTH_SPAWNER" "on" }}{{ end -}}
  {{- with include "berth.tcp" $root | fromYaml -}}
    {{- $_ := set $env "BERTH_TCP_PORTS" $v.tcp.ports -}}
    {{- $_ := set $env "BERTH_TCP_HOST" "0.0.0.0" -}}
    {{- $_ := set $env "BERTH_TCP_ADVERTISED_HOST" (printf "%s.%s.svc" .service $root.Release.Namespace) -}}
    {{- with $v.tcp.images }}{{ $_ := set $env "BERTH_TCP_IMAGES" (join "," .) }}{{ end -}}
  {{- end -}}
  {{- if and $v.ingress.enabled $v.ingress.host }}{{ $_ := set $env "BERTH_WEB_ROOT" (printf "%s://%s" (ternary "https" "http" (gt (len $v.ingress.tls) 0)) $v.ingress.host) }}{{ end -}}
  {{- if and $v.ingress.enabled $v.ingress.consoleHost }}{{ $_ := set $env "BERTH_CONSOLE_URL" (printf "%s://%s" (ternary "https" "http" (gt (len $v.ingress.tls) 0)) $v.ingress.consoleHost) }}{{ end -}}
{{- end -}}
{{- if and $v.ingress.enabled (ne .pod.role "spawner") -}}
  {{- $_ := set $env "BERTH_TRUSTED_PROXIES" $v.ingress.trustedProxies -}}
  {{/* A load balancer lets go of an idle connection first, or it sends a request to one that is being closed. */}}
  {{- $_ := set $env "BERTH_KEEP_ALIVE_TIMEOUT" (printf "%d000" (add 10 (min (int $v.ingress.timeoutSeconds) 4000))) -}}
{{- end -}}
{{- range include "berth.ports" $root | fromYamlArray -}}
  {{- if eq .component $.pod.component }}{{ $env = mergeOverwrite $env ((get $v .value).env | default dict) }}{{ end -}}
{{- end -}}
{{- range $name := keys $env | sortAlpha }}
- name: {{ $name }}
  value: {{ get $env $name | quote }}
{{- end }}
{{- end -}}
