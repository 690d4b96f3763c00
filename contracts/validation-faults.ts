/** The rules of a validation request that span several fields: what contradicts what. Pure; shapes are checked before. */
import { attemptBudgetSeconds, stopGraceOf } from './validation-budgets.ts'
import { requestSchemas } from './validation-requests.ts'
import type { ServingSpec } from './validation-serving.ts'
import type { Fields } from './validations/fields.ts'

/** One contradiction; `field` is a path from the top of the request. */
export type Fault = { field: (string | number)[]; message: string }

export function* faultsAcross(spec: Fields): Iterable<Fault> {
  yield* servingFaults(spec)
  yield* budgetFaults(spec)
  yield* requestFaults(spec)
}

function* servingFaults({ model, servingSpec, limits }: Fields): Iterable<Fault> {
  const { binary, platform } = servingSpec
  const at = (...field: (string | number)[]) => ['servingSpec', 'binary', ...field]
  const container = platform.kind === 'docker' || platform.kind === 'kubernetes'
  const listed = (binary.tags?.length ?? 0) + (binary.digests?.length ?? 0)
  const named = binary.imageName !== undefined || binary.kind === 'tensorflow_serving'
  if (container && binary.image === undefined && !(named && listed > 0)) {
    yield { field: at('image'), message: 'is missing: the spec yields no serving binary' }
  }
  if (binary.image !== undefined && (binary.imageName !== undefined || listed > 0)) {
    yield { field: at('image'), message: 'cannot stand beside imageName, tags or digests' }
  }
  if (!container && (binary.image !== undefined || listed > 0)) {
    yield { field: at('image'), message: `means nothing on platform ${platform.kind}` }
  }
  if (platform.kind === 'process' && binary.command === undefined) {
    yield { field: at('command'), message: 'is missing: the spec yields no serving binary' }
  }
  if (platform.kind === 'endpoint' && binary.command !== undefined) {
    yield { field: at('command'), message: 'means nothing on platform endpoint' }
  }
  if (binary.cwd !== undefined && platform.kind !== 'process') {
    yield { field: at('cwd'), message: `means nothing on platform ${platform.kind}` }
  }
  if (binary.statusVia !== undefined && binary.kind !== 'tensorflow_serving') {
    yield { field: at('statusVia'), message: `is for kind tensorflow_serving, not ${binary.kind}` }
  }
  if (binary.kind === 'custom') {
    if (binary.readiness === undefined) yield { field: at('readiness'), message: 'is missing' }
    if (binary.readiness?.log && platform.kind === 'endpoint') {
      yield { field: at('readiness', 'log'), message: 'cannot work: an endpoint has no logs' }
    }
    if (container && binary.port === undefined) yield { field: at('port'), message: 'is missing' }
    for (const key of ['failurePattern', 'log'] as const) {
      const rule = binary.readiness?.[key]
      const pattern = typeof rule === 'string' ? rule : rule?.pattern
      if (pattern !== undefined && !compiles(pattern)) {
        yield { field: at('readiness', key), message: 'is not a regular expression' }
      }
    }
  } else {
    if (binary.readiness !== undefined) {
      yield { field: at('readiness'), message: `is for kind custom, not ${binary.kind}` }
    }
    if (binary.inference !== undefined) {
      yield { field: at('inference'), message: `is for kind custom, not ${binary.kind}` }
    }
  }
  for (const [index, entry] of binary.env.entries()) {
    const from = entry.valueFrom
    if (from !== undefined && platform.kind !== 'kubernetes' && !('secret' in from)) {
      yield { field: at('env', index, 'valueFrom'), message: 'works on Kubernetes only' }
    }
    if (from !== undefined && platform.kind === 'kubernetes' && 'secret' in from) {
      yield { field: at('env', index, 'valueFrom'), message: 'must be a secretKeyRef on Kubernetes' }
    }
  }
  if (platform.kind === 'endpoint' && Object.keys(limits).length > 0) {
    yield { field: ['limits'], message: 'cannot be set on a server that is already up' }
  }
  for (const name of ['cpus', 'gpus', 'pids'] as const) {
    if (platform.kind === 'process' && limits[name] !== undefined) {
      yield { field: ['limits', name], message: 'cannot be limited on platform process' }
    }
  }
  if (platform.kind === 'kubernetes') {
    if (platform.resources !== undefined && Object.keys(limits).length > 0) {
      yield { field: ['limits'], message: 'contradicts servingSpec.platform.resources: give one of them' }
    }
    if (limits.pids !== undefined) yield { field: ['limits', 'pids'], message: 'means nothing on Kubernetes' }
    if (model.path !== undefined && !platform.modelClaim && !platform.modelVolume) {
      const field = ['servingSpec', 'platform', 'modelClaim']
      yield { field, message: 'is missing: a Pod cannot see model.path' }
    }
    if (platform.modelClaim !== undefined && platform.modelVolume !== undefined) {
      yield { field: ['servingSpec', 'platform', 'modelVolume'], message: 'contradicts modelClaim' }
    }
  }
  if (model.path === undefined && model.uri === undefined && needsModel(servingSpec)) {
    yield { field: ['model', 'path'], message: 'is missing: give path or uri' }
  }
}

function needsModel({ platform }: ServingSpec): boolean {
  if (platform.kind === 'endpoint') return false
  return platform.kind !== 'kubernetes' || !(platform.modelClaim || platform.modelVolume)
}

function compiles(pattern: string): boolean {
  try {
    new RegExp(pattern)
    return true
  } catch {
    return false
  }
}

function* budgetFaults({ servingSpec, validationSpec: budgets, limits, gates }: Fields): Iterable<Fault> {
  const at = (field: string) => ['validationSpec', field]
  if (budgets.pollIntervalSeconds > budgets.maxLoadingTimeSeconds) {
    yield { field: at('pollIntervalSeconds'), message: 'is longer than maxLoadingTimeSeconds' }
  }
  if (budgets.requestTimeoutSeconds > budgets.queryBudgetSeconds) {
    yield { field: at('requestTimeoutSeconds'), message: 'is longer than queryBudgetSeconds' }
  }
  if (stopGraceOf(servingSpec.platform.kind, budgets) >= budgets.stopBudgetSeconds) {
    yield { field: at('stopGraceSeconds'), message: 'does not fit into stopBudgetSeconds' }
  }
  if (budgets.retryDelay.initialSeconds > budgets.retryDelay.maxSeconds) {
    yield { field: [...at('retryDelay'), 'initialSeconds'], message: 'is longer than maxSeconds' }
  }
  const attempt = attemptBudgetSeconds(budgets)
  if (
    servingSpec.platform.kind === 'kubernetes' &&
    servingSpec.platform.activeDeadlineSeconds <= budgets.maxLoadingTimeSeconds + budgets.queryBudgetSeconds
  ) {
    yield {
      field: ['servingSpec', 'platform', 'activeDeadlineSeconds'],
      message: `must exceed loading and query budget of an attempt (whole attempt: ${attempt} s)`,
    }
  }
  if (gates.maxPeakMemoryBytes !== undefined && limits.memoryBytes !== undefined) {
    if (gates.maxPeakMemoryBytes > limits.memoryBytes) {
      yield { field: ['gates', 'maxPeakMemoryBytes'], message: 'is above limits.memoryBytes' }
    }
  }
}

function* requestFaults(spec: Fields): Iterable<Fault> {
  const { kind } = spec.servingSpec.binary
  const schema = requestSchemas[kind]
  const items: { field: (string | number)[]; request: unknown }[] = [
    ...spec.requests.map((request, index) => ({ field: ['requests', index], request })),
    ...spec.goldens.map((golden, index) => ({
      field: ['goldens', index, 'request'],
      request: golden.request,
    })),
  ]
  for (const { field, request } of items) {
    const issues = schema.safeParse(request).error?.issues ?? []
    for (const issue of issues) {
      const path = [...field, ...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))]
      yield { field: path, message: `does not fit ${kind}: ${issue.message}` }
    }
  }
  for (const [index, golden] of spec.goldens.entries()) {
    for (const name of Object.keys(golden.rules)) {
      if (!(name in golden.outputs)) {
        yield { field: ['goldens', index, 'rules', name], message: 'is about an output that is not expected' }
      }
    }
  }
  if (spec.requestSpec !== undefined && spec.examples === undefined) {
    yield { field: ['examples'], message: 'are missing: a requestSpec picks from them' }
  }
  if (spec.examples !== undefined && spec.requestSpec === undefined) {
    yield { field: ['requestSpec'], message: 'is missing: examples need one' }
  }
  if (spec.requestSpec !== undefined && spec.requestSpec.kind !== kind) {
    yield { field: ['requestSpec', 'kind'], message: `does not fit the binary, which is ${kind}` }
  }
  const split = spec.requestSpec?.splitName
  if (split !== undefined && spec.examples !== undefined && !(split in spec.examples.splits)) {
    yield { field: ['requestSpec', 'splitName'], message: 'is no split of the examples' }
  }
  const asked = spec.requests.length > 0 || spec.requestSpec !== undefined
  if (spec.load !== undefined && !asked && spec.goldens.length === 0) {
    yield { field: ['load'], message: 'has no requests to send' }
  }
  const { maxErrorRate: _rate, maxPeakMemoryBytes: _memory, ...latency } = spec.gates
  for (const name of spec.load === undefined ? Object.keys(latency) : []) {
    yield { field: ['gates', name], message: 'needs load' }
  }
}
