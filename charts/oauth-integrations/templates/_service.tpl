{{/* What oauth-integrations has and the other services have not. */}}

{{- define "oauth-integrations.checks" -}}
{{- include "service.requireIssuer" . -}}
{{- include "service.requireSecret" (dict "root" . "secret" .Values.client.existingSecret "keys" (list "client_id" "client_secret")
  "create" "install charts/auth-api first, which makes it, or: kubectl -n NAMESPACE create secret generic mozaiks-client-oauth-integrations-service --from-literal=client_id=oauth-integrations-service --from-literal=client_secret=<secret>") -}}
{{- if .Values.database.existingSecret -}}
{{- include "service.requireSecret" (dict "root" . "secret" .Values.database.existingSecret "keys" (list .Values.database.passwordKey)
  "create" (printf "kubectl -n NAMESPACE create secret generic %s --from-literal=%s=<password>, or install charts/data, which brings a throw-away PostgreSQL." .Values.database.existingSecret .Values.database.passwordKey)) -}}
{{- end -}}
{{- if .Values.tokenEncryptionKeys.existingSecret -}}
{{- include "service.requireSecret" (dict "root" . "secret" .Values.tokenEncryptionKeys.existingSecret "keys" (list .Values.tokenEncryptionKeys.key)
  "create" (printf "kubectl -n NAMESPACE create secret generic %s --from-literal=%s=\"k1:$(openssl rand -base64 32)\"" .Values.tokenEncryptionKeys.existingSecret .Values.tokenEncryptionKeys.key)) -}}
{{- end -}}
{{- range $name := list "github" "jira" "slack" -}}
{{- $provider := get $.Values.providers $name -}}
{{- if $provider.existingSecret -}}
{{- $keys := list "client_id" "client_secret" -}}
{{- if $provider.appId }}{{ $keys = append $keys "private_key" }}{{ end -}}
{{- include "service.requireSecret" (dict "root" $ "secret" $provider.existingSecret "keys" $keys
  "create" (printf "kubectl -n NAMESPACE create secret generic %s --from-literal=client_id=… --from-literal=client_secret=…" $provider.existingSecret)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "oauth-integrations.config" -}}
AUTH_API_URL: {{ .Values.peers.authApi | quote }}
POSTGRES_HOST: {{ .Values.database.host | quote }}
POSTGRES_PORT: {{ .Values.database.port | quote }}
POSTGRES_USER: {{ .Values.database.user | quote }}
POSTGRES_DB: {{ .Values.database.name | quote }}
POSTGRES_MAX_CONNECTIONS: {{ .Values.database.maxConnections | quote }}
OAUTH_CALLBACK_BASE: {{ .Values.callbackBase | quote }}
{{- with .Values.runtimeUrl }}
RUNTIME_URL: {{ . | quote }}
{{- end }}
{{- with .Values.trustedProxies }}
TRUSTED_PROXIES: {{ join "," . | quote }}
{{- end }}
{{- with .Values.providers.github }}
GITHUB_BROWSER_URL: {{ .browserUrl | quote }}
GITHUB_API_URL: {{ .apiUrl | quote }}
{{- if .appId }}
GITHUB_APP_ID: {{ .appId | quote }}
GITHUB_APP_SLUG: {{ .appSlug | quote }}
GITHUB_PRIVATE_KEY_PATH: /var/run/github/private_key
{{- end }}
{{- end }}
JIRA_BROWSER_URL: {{ .Values.providers.jira.browserUrl | quote }}
JIRA_API_URL: {{ .Values.providers.jira.apiUrl | quote }}
SLACK_BROWSER_URL: {{ .Values.providers.slack.browserUrl | quote }}
SLACK_API_URL: {{ .Values.providers.slack.apiUrl | quote }}
ALLOW_INSECURE_PROVIDERS: {{ .Values.providers.allowInsecure | quote }}
{{- end }}

{{- define "oauth-integrations.keySecret" -}}
{{ .Values.tokenEncryptionKeys.existingSecret | default (include "service.fullname" .) }}
{{- end }}

{{- define "oauth-integrations.databaseSecret" -}}
{{ .Values.database.existingSecret | default (printf "%s-given-database" (include "service.fullname" .)) }}
{{- end }}

{{- define "oauth-integrations.secretVariables" -}}
{{ include "service.secretVariable" (dict "variable" "CLIENT_ID" "secret" .Values.client.existingSecret "key" "client_id") }}
{{ include "service.secretVariable" (dict "variable" "CLIENT_SECRET" "secret" .Values.client.existingSecret "key" "client_secret") }}
{{ include "service.secretVariable" (dict "variable" "POSTGRES_PASSWORD" "secret" (include "oauth-integrations.databaseSecret" .) "key" .Values.database.passwordKey) }}
{{ include "service.secretVariable" (dict "variable" "TOKEN_ENCRYPTION_KEYS" "secret" (include "oauth-integrations.keySecret" .) "key" .Values.tokenEncryptionKeys.key) }}
{{- range $name := list "github" "jira" "slack" }}
{{- with (get $.Values.providers $name).existingSecret }}
{{ include "service.secretVariable" (dict "variable" (printf "%s_CLIENT_ID" (upper $name)) "secret" . "key" "client_id") }}
{{ include "service.secretVariable" (dict "variable" (printf "%s_CLIENT_SECRET" (upper $name)) "secret" . "key" "client_secret") }}
{{- end }}
{{- end }}
{{- with .Values.providers.github.existingSecret }}
- name: GITHUB_WEBHOOK_SECRET
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: webhook_secret, optional: true}
{{- end }}
{{- with .Values.providers.slack.existingSecret }}
- name: SLACK_SIGNING_SECRET
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: signing_secret, optional: true}
{{- end }}
{{- end }}

{{- define "oauth-integrations.volumeMounts" -}}
{{- if .Values.providers.github.appId }}
- {name: github, mountPath: /var/run/github, readOnly: true}
{{- end }}
{{- end }}

{{- define "oauth-integrations.volumes" -}}
{{- if .Values.providers.github.appId }}
- name: github
  secret:
    secretName: {{ required "providers.github.existingSecret is needed with providers.github.appId" .Values.providers.github.existingSecret }}
    items: [{key: private_key, path: private_key}]
{{- end }}
{{- end }}

{{- /* The keys that this chart makes: made once per rendering, because every template that asks has to get the same new ones. */}}
{{- define "oauth-integrations.ownKeys" -}}
{{- if not (hasKey .Values "ownKeys") -}}
{{- $_ := set .Values "ownKeys" (include "service.keptSecret" (dict "root" . "given" .Values.tokenEncryptionKeys.value
  "secret" (include "service.fullname" .) "key" .Values.tokenEncryptionKeys.key "new" (printf "k1:%s" (randBytes 32)))) -}}
{{- end -}}
{{- .Values.ownKeys -}}
{{- end }}

{{- define "oauth-integrations.secretContents" -}}
{{ include "oauth-integrations.ownKeys" . }}
{{ .Values.database.password }}
{{- $secrets := list .Values.client.existingSecret (include "oauth-integrations.databaseSecret" .) .Values.tokenEncryptionKeys.existingSecret }}
{{- range $name := list "github" "jira" "slack" }}{{ $secrets = append $secrets (get $.Values.providers $name).existingSecret }}{{ end }}
{{- range compact $secrets }}
{{ include "service.liveSecret" (dict "root" $ "secret" .) }}
{{- end }}
{{- end }}

{{- define "oauth-integrations.egress" -}}
{{ include "service.egressToUrl" (dict "url" .Values.peers.authApi "name" "auth-api") }}
{{ include "service.egressTo" (dict "host" .Values.database.host "port" .Values.database.port "name" "postgres") }}
{{- with .Values.runtimeUrl }}
{{ include "service.egressToUrl" (dict "url" . "name" "mozaiks-runtime") }}
{{- end }}
{{- /* The providers, each at its address; the real ones are at 443, wherever that is. */}}
{{- $rules := list }}
{{- range $name := list "github" "jira" "slack" }}
{{- $provider := get $.Values.providers $name }}
{{- range list $provider.browserUrl $provider.apiUrl }}
{{- if ne (urlParse .).hostname "localhost" }}
{{- $rules = append $rules (include "service.egressToUrl" (dict "url" . "name" "simulator")) }}
{{- end }}
{{- end }}
{{- end }}
{{ join "\n" (uniq $rules) }}
{{- end }}

{{- define "oauth-integrations.testPath" -}}/oauth/installations?org_id=00000000-0000-7000-8000-000000000000{{- end }}
{{- define "oauth-integrations.testStatus" -}}200{{- end }}

{{- define "oauth-integrations.notes" -}}
{{- $offered := list }}
{{- range $name := list "github" "jira" "slack" }}{{ if (get $.Values.providers $name).existingSecret }}{{ $offered = append $offered $name }}{{ end }}{{ end }}
{{- if $offered }}
Offered providers: {{ join ", " $offered }}. Register {{ .Values.callbackBase }}/oauth/callback/<platform> at each of them.
{{- else }}
No provider is offered yet: give providers.<name>.existingSecret, or try it with the simulator of charts/data.
{{- end }}
{{- end }}
