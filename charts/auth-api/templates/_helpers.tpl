{{/*
Names, labels and checks that every service's chart has. This file is the same in all of them; `make check-charts` compares.
What differs is in _service.tpl, under the chart's name.
*/}}

{{- define "service.fullname" -}}
{{- .Values.fullnameOverride | default .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "service.selectorLabels" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "service.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "service.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: api
app.kubernetes.io/part-of: platform
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* What a helm-test pod is called; its labels are not the service's, which would make it one of the service's endpoints. */}}
{{- define "service.testLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
app.kubernetes.io/part-of: platform
{{- end }}

{{- define "service.image" -}}
{{- $image := .image -}}
{{- $name := printf "%s%s" (empty $image.registry | ternary "" (printf "%s/" $image.registry)) $image.repository -}}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}{{ else }}{{ $name }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{- define "service.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "service.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Settings that every service understands. */}}
{{- define "service.commonConfig" -}}
HOST: "0.0.0.0"
PORT: {{ .Values.ports.http | quote }}
ADMIN_HOST: "0.0.0.0"
ADMIN_PORT: {{ .Values.ports.admin | quote }}
PUBLIC_URL: {{ .Values.publicUrl | quote }}
AUTH_API_ISSUER: {{ .Values.issuer | quote }}
ALLOWED_ORIGINS: {{ join "," .Values.allowedOrigins | quote }}
LOG_FORMAT: json
RUST_LOG: {{ .Values.log | quote }}
{{- with .Values.tracing.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
OTEL_SERVICE_NAME: {{ $.Chart.Name }}
{{- end }}
{{- end }}

{{- /* A variable whose value is in a Secret: dict "variable" "secret" "key". */}}
{{- define "service.secretVariable" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}

{{- /* Whether the cluster can be asked; `helm template` and client-side dry runs cannot. */}}
{{- define "service.hasCluster" -}}
{{- if lookup "v1" "ServiceAccount" .Release.Namespace "default" }}true{{ end -}}
{{- end }}

{{- /* Fails where a Secret or one of its keys is missing: dict "root" "secret" "keys" "create". */}}
{{- define "service.requireSecret" -}}
{{- if include "service.hasCluster" .root -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $live := lookup "v1" "Secret" $namespace .secret -}}
{{- if not $live -}}
{{- fail (printf "The Secret %s is missing in namespace %s. Create it: %s" .secret $namespace (.create | replace "NAMESPACE" $namespace)) -}}
{{- end -}}
{{- range .keys -}}
{{- if not (hasKey ($live.data | default dict) .) -}}
{{- fail (printf "The Secret %s in namespace %s has no key %s." $.secret $namespace .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Fails where auth-api, found in the same namespace, issues under another name. */}}
{{- define "service.requireIssuer" -}}
{{- $live := lookup "v1" "ConfigMap" .Release.Namespace "auth-api" -}}
{{- $theirs := dig "data" "AUTH_API_ISSUER" "" ($live | default dict) -}}
{{- if and $theirs (ne $theirs .Values.issuer) -}}
{{- fail (printf "issuer is %s, but auth-api in namespace %s issues tokens as %s; give both charts the same issuer." .Values.issuer .Release.Namespace $theirs) -}}
{{- end -}}
{{- end }}

{{- /* What a Secret holds now, for checksums: dict "root" "secret". */}}
{{- define "service.liveSecret" -}}
{{- dig "data" dict (lookup "v1" "Secret" .root.Release.Namespace .secret | default dict) | toJson -}}
{{- end }}

{{- /* The value to keep: what is given, else what the live Secret has, else a new one: dict "root" "given" "secret" "key" "new". */}}
{{- define "service.keptSecret" -}}
{{- $live := dig "data" .key "" (lookup "v1" "Secret" .root.Release.Namespace .secret | default dict) -}}
{{- if .given }}{{ .given }}{{ else if $live }}{{ $live | b64dec }}{{ else }}{{ .new }}{{ end -}}
{{- end }}

{{- /* An egress rule to a workload of the same namespace where the host is its name, else to any address: dict "host" "port" "name". */}}
{{- define "service.egressTo" -}}
{{- if eq .host .name -}}
- to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: {{ .name }}
  ports:
    - {port: {{ .port }}, protocol: TCP}
{{- else -}}
- ports:
    - {port: {{ .port }}, protocol: TCP}
{{- end }}
{{- end }}

{{- /* The same for a URL: dict "url" "name". */}}
{{- define "service.egressToUrl" -}}
{{- $url := urlParse .url -}}
{{- $parts := splitList ":" $url.host -}}
{{- $port := 80 -}}
{{- if eq $url.scheme "https" }}{{ $port = 443 }}{{ end -}}
{{- if gt (len $parts) 1 }}{{ $port = index $parts 1 }}{{ end -}}
{{- include "service.egressTo" (dict "host" (index $parts 0) "port" $port "name" .name) -}}
{{- end }}
