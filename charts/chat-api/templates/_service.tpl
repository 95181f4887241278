{{/* What chat-api has and the other services have not. */}}

{{- define "chat-api.checks" -}}
{{- include "service.requireIssuer" . -}}
{{- include "service.requireSecret" (dict "root" . "secret" .Values.client.existingSecret "keys" (list "client_id" "client_secret")
  "create" "install charts/auth-api first, which makes it, or: kubectl -n NAMESPACE create secret generic mozaiks-client-chat-api-service --from-literal=client_id=chat-api-service --from-literal=client_secret=<secret>") -}}
{{- if .Values.database.existingSecret -}}
{{- include "service.requireSecret" (dict "root" . "secret" .Values.database.existingSecret "keys" (list .Values.database.uriKey)
  "create" (printf "kubectl -n NAMESPACE create secret generic %s --from-literal=%s=mongodb://…, or install charts/data, which brings a throw-away MongoDB." .Values.database.existingSecret .Values.database.uriKey)) -}}
{{- end -}}
{{- end }}

{{- define "chat-api.config" -}}
AUTH_API_URL: {{ .Values.peers.authApi | quote }}
MONGODB_DATABASE: {{ .Values.database.name | quote }}
USE_OAUTH2_AUTH: {{ .Values.useOauth2Auth | quote }}
DIRECTORY_MAX_STALE_SECONDS: {{ .Values.directoryMaxStaleSeconds | quote }}
{{- end }}

{{- define "chat-api.databaseSecret" -}}
{{ .Values.database.existingSecret | default (printf "%s-given-database" (include "service.fullname" .)) }}
{{- end }}

{{- define "chat-api.secretVariables" -}}
{{ include "service.secretVariable" (dict "variable" "CLIENT_ID" "secret" .Values.client.existingSecret "key" "client_id") }}
{{ include "service.secretVariable" (dict "variable" "CLIENT_SECRET" "secret" .Values.client.existingSecret "key" "client_secret") }}
{{ include "service.secretVariable" (dict "variable" "MONGODB_URI" "secret" (include "chat-api.databaseSecret" .) "key" .Values.database.uriKey) }}
{{- end }}

{{- define "chat-api.volumeMounts" -}}{{- end }}
{{- define "chat-api.volumes" -}}{{- end }}

{{- define "chat-api.secretContents" -}}
{{ include "service.liveSecret" (dict "root" . "secret" .Values.client.existingSecret) }}
{{ include "service.liveSecret" (dict "root" . "secret" (include "chat-api.databaseSecret" .)) }}
{{ .Values.database.uri }}
{{- end }}

{{- define "chat-api.egress" -}}
{{ include "service.egressToUrl" (dict "url" .Values.peers.authApi "name" "auth-api") }}
{{ include "service.egressTo" (dict "host" .Values.database.host "port" .Values.database.port "name" "mongodb") }}
{{- end }}

{{- /* No organization needs to exist: 404 for an unknown one is an answer to an accepted token. */}}
{{- define "chat-api.testPath" -}}/api/chat/groups/00000000-0000-7000-8000-000000000000/messages?org_id=00000000-0000-7000-8000-000000000000{{- end }}
{{- define "chat-api.testStatus" -}}404{{- end }}

{{- define "chat-api.notes" -}}
Every path but /health and /openapi.json needs an access token of auth-api, for example Alice's (see the notes of auth-api for demo people).
{{- end }}
