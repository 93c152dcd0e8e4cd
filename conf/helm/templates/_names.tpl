{{/* Names of the chart's objects, and what follows from the values. */}}

{{- define "berth.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "berth.namespace" -}}
{{- .Values.containers.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "berth.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "berth.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end -}}

{{/* Whether a pod of the release calls the cluster's API. */}}
{{- define "berth.deploys" -}}
{{- if and (eq .Values.driver "kubernetes") (or .Values.server.enabled .Values.spawner.enabled) }}yes{{ end -}}
{{- end -}}

{{- define "berth.hasDatabase" -}}
{{- if .Values.database.existingSecret }}yes{{ end -}}
{{- end -}}

{{/* Whether users reach the release by the names of `ingress`, and how. */}}
{{- define "berth.scheme" -}}
{{- if .Values.httpRoute.enabled }}{{ .Values.httpRoute.scheme -}}
{{- else if or .Values.ingress.tls (include "berth.tlsSecret" .) }}https{{ else }}http{{ end -}}
{{- end -}}
{{- define "berth.host" -}}
{{- if or .Values.ingress.enabled .Values.httpRoute.enabled .Values.gateway.tls }}{{ .Values.ingress.host }}{{ end -}}
{{- end -}}
{{- define "berth.consoleHost" -}}
{{- if or .Values.ingress.enabled .Values.httpRoute.enabled }}{{ .Values.ingress.consoleHost }}{{ end -}}
{{- end -}}

{{/* The certificate of the public names; empty: there is none. */}}
{{- define "berth.tlsSecret" -}}
{{- if .Values.tls.secretName }}{{ .Values.tls.secretName }}{{ else if .Values.tls.issuer.name }}{{ include "berth.name" . }}-tls{{ end -}}
{{- end -}}
{{/* The certificate between gateways and control, and the token with which they join. */}}
{{- define "berth.gatewaysSecret" -}}
{{- include "berth.name" . }}-gateways
{{- end -}}
{{- define "berth.controlTlsSecret" -}}
{{- if .Values.control.tls.secretName }}{{ .Values.control.tls.secretName }}{{ else if .Values.control.tls.issuer.name }}{{ include "berth.name" . }}-control-tls{{ else }}{{ include "berth.gatewaysSecret" . }}{{ end -}}
{{- end -}}
{{- define "berth.controlHost" -}}
{{- printf "%s-control.%s.svc" (include "berth.name" .) .Release.Namespace -}}
{{- end -}}

{{/* The API as pods of the cluster reach it. The certificate of gateways with TLS is only valid for the public name. */}}
{{- define "berth.edgeHost" -}}
{{- printf "%s.%s.svc" (.Values.gateway.service.name | default (include "berth.name" .)) .Release.Namespace -}}
{{- end -}}
{{- define "berth.apiUrl" -}}
{{- if .Values.gateway.tls }}https://{{ .Values.ingress.host }}/api{{ else }}http://{{ include "berth.edgeHost" . }}:8080/api{{ end -}}
{{- end -}}

{{- define "berth.selector" -}}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Not `managed-by: berth`, with which the driver marks what it creates. */}}
{{- define "berth.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The value of a key of an existing Secret, else `fresh`: an upgrade keeps what an install created. */}}
{{- define "berth.kept" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if and $secret (hasKey ($secret.data | default dict) .key) }}{{ get $secret.data .key }}{{ else }}{{ .fresh | b64enc }}{{ end -}}
{{- end -}}
