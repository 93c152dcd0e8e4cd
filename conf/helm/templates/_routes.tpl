{{/* The public names, each with the Service behind it. */}}
{{- define "berth.routes" -}}
{{- $root := . -}}
{{- range include "berth.ports" . | fromYamlArray }}
{{- $host := get (dict "gateway" $root.Values.ingress.host "console" $root.Values.ingress.consoleHost "grokRegistryProxy" $root.Values.ingress.registryHost) .value }}
{{- if $host }}
- { host: {{ $host }}, service: {{ (get $root.Values .value).service.name | default .service }}, portName: {{ .name }}, port: {{ .port }} }
{{- end }}
{{- end }}
{{- end -}}
