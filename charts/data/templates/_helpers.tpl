{{- define "data.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: database
app.kubernetes.io/part-of: platform
{{- end }}

{{- define "data.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
# A volume that has its owner keeps its modes, which PostgreSQL is strict about.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "data.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* The password that a Secret holds, or a new one; asked for once per rendering: dict "root" "secret". */}}
{{- define "data.password" -}}
{{- $values := .root.Values -}}
{{- if not (hasKey $values "passwords") }}{{ $_ := set $values "passwords" dict }}{{ end -}}
{{- if not (hasKey $values.passwords .secret) -}}
{{- $live := dig "data" "password" "" (lookup "v1" "Secret" .root.Release.Namespace .secret | default dict) -}}
{{- $_ := set $values.passwords .secret ($live | empty | ternary (randAlphaNum 32) ($live | b64dec)) -}}
{{- end -}}
{{- get $values.passwords .secret -}}
{{- end }}

{{- /* Every role and the Secret of its password, as JSON. */}}
{{- define "data.roles" -}}
{{- $roles := deepCopy .Values.postgres.roles -}}
{{- if eq .Values.mongodb.engine "ferretdb" }}{{ $_ := set $roles "ferretdb" "ferretdb-database" }}{{ end -}}
{{- toJson $roles -}}
{{- end }}

{{- /* Only the namespace comes in, and nothing goes out but to the given port. */}}
{{- define "data.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  labels:
    {{- include "data.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {app.kubernetes.io/name: {{ .name }}}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{podSelector: {}}]
      ports:
        {{- range .ports }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
  egress:
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    {{- with .egress }}
    - to: [{podSelector: {matchLabels: {app.kubernetes.io/name: {{ .name }}}}}]
      ports: [{port: {{ .port }}, protocol: TCP}]
    {{- end }}
{{- end }}
