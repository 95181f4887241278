{{/* What auth-api has and the other services have not. */}}

{{- define "auth-api.checks" -}}
{{- if .Values.database.existingSecret -}}
{{- include "service.requireSecret" (dict "root" . "secret" .Values.database.existingSecret "keys" (list .Values.database.passwordKey)
  "create" (printf "kubectl -n NAMESPACE create secret generic %s --from-literal=%s=<password>, or install charts/data, which brings a throw-away PostgreSQL." .Values.database.existingSecret .Values.database.passwordKey)) -}}
{{- end -}}
{{- if .Values.keyEncryptionKeys.existingSecret -}}
{{- include "service.requireSecret" (dict "root" . "secret" .Values.keyEncryptionKeys.existingSecret "keys" (list .Values.keyEncryptionKeys.key)
  "create" (printf "kubectl -n NAMESPACE create secret generic %s --from-literal=%s=\"k1:$(openssl rand -base64 32)\"" .Values.keyEncryptionKeys.existingSecret .Values.keyEncryptionKeys.key)) -}}
{{- end -}}
{{- end }}

{{- define "auth-api.config" -}}
POSTGRES_HOST: {{ .Values.database.host | quote }}
POSTGRES_PORT: {{ .Values.database.port | quote }}
POSTGRES_USER: {{ .Values.database.user | quote }}
POSTGRES_DB: {{ .Values.database.name | quote }}
POSTGRES_MAX_CONNECTIONS: {{ .Values.database.maxConnections | quote }}
ACCESS_TOKEN_TTL_SECONDS: {{ .Values.accessTokenTtlSeconds | quote }}
JWKS_PREPUBLISH_SECONDS: {{ .Values.jwksPrepublishSeconds | quote }}
CLIENT_SECRETS_DIR: /var/run/client-secrets
{{- with .Values.trustedProxies }}
TRUSTED_PROXIES: {{ join "," . | quote }}
{{- end }}
{{- end }}

{{- define "auth-api.keySecret" -}}
{{ .Values.keyEncryptionKeys.existingSecret | default (include "service.fullname" .) }}
{{- end }}

{{- define "auth-api.databaseSecret" -}}
{{ .Values.database.existingSecret | default (printf "%s-given-database" (include "service.fullname" .)) }}
{{- end }}

{{- define "auth-api.secretVariables" -}}
{{ include "service.secretVariable" (dict "variable" "POSTGRES_PASSWORD" "secret" (include "auth-api.databaseSecret" .) "key" .Values.database.passwordKey) }}
{{ include "service.secretVariable" (dict "variable" "KEY_ENCRYPTION_KEYS" "secret" (include "auth-api.keySecret" .) "key" .Values.keyEncryptionKeys.key) }}
{{- end }}

{{- define "auth-api.volumeMounts" -}}
- {name: client-secrets, mountPath: /var/run/client-secrets, readOnly: true}
{{- end }}

{{- define "auth-api.volumes" -}}
- name: client-secrets
  projected:
    sources:
      {{- range .Values.clients }}
      - secret:
          name: mozaiks-client-{{ . }}
          items:
            - {key: client_secret, path: {{ . }}/client_secret}
      {{- end }}
{{- end }}

{{- /*
The secrets that this chart makes, as JSON: made once per rendering, because every template that asks has to get the same new ones.
*/}}
{{- define "auth-api.ownSecrets" -}}
{{- if not (hasKey .Values "ownSecrets") -}}
{{- $own := dict "clients" dict -}}
{{- $_ := set $own "keys" (include "service.keptSecret" (dict "root" . "given" .Values.keyEncryptionKeys.value
  "secret" (include "service.fullname" .) "key" .Values.keyEncryptionKeys.key "new" (printf "k1:%s" (randBytes 32)))) -}}
{{- range .Values.clients -}}
{{- $_ := set $own.clients . (include "service.keptSecret" (dict "root" $ "given" (get $.Values.clientSecrets .)
  "secret" (printf "mozaiks-client-%s" .) "key" "client_secret" "new" (printf "aas_%s" (randAlphaNum 43)))) -}}
{{- end -}}
{{- $_ := set .Values "ownSecrets" $own -}}
{{- end -}}
{{- toJson .Values.ownSecrets -}}
{{- end }}

{{- define "auth-api.secretContents" -}}
{{ include "auth-api.ownSecrets" . }}
{{ include "service.liveSecret" (dict "root" . "secret" (include "auth-api.databaseSecret" .)) }}
{{ .Values.database.password }}
{{- if .Values.keyEncryptionKeys.existingSecret }}
{{ include "service.liveSecret" (dict "root" . "secret" .Values.keyEncryptionKeys.existingSecret) }}
{{- end }}
{{- end }}

{{- define "auth-api.egress" -}}
{{ include "service.egressTo" (dict "host" .Values.database.host "port" .Values.database.port "name" "postgres") }}
{{- end }}

{{- define "auth-api.testPath" -}}/oauth/revocations{{- end }}
{{- define "auth-api.testStatus" -}}200{{- end }}

{{- define "auth-api.notes" -}}
Demo people, groups and clients, printed as shell variables:

  kubectl -n {{ .Release.Namespace }} exec deploy/{{ include "service.fullname" . }} -- auth-api seed-demo

A service's credentials are in the Secret mozaiks-client-<id> (client_id, client_secret), for example:

  kubectl -n {{ .Release.Namespace }} get secret mozaiks-client-chat-api-service -o jsonpath='{.data.client_secret}' | base64 -d
{{- end }}
