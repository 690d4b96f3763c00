/** The validation request as it comes over HTTP or from a file: schema, defaults and every rule across fields. */
import { z } from 'zod'
import { ServiceError } from './errors.ts'
import { Budgets } from './validation-budgets.ts'
import { faultsAcross } from './validation-faults.ts'
import { Examples, Gates, Golden, Load, RequestSpec } from './validation-requests.ts'
import { Limits, type PlatformKind, platformKinds, ServingSpec } from './validation-serving.ts'

export const Model = z
  .strictObject({
    /** Folder or file that the worker can read. */
    path: z.string().min(1).optional(),
    /** `s3://…`, `gs://…`: passed on to the server, not read here. */
    uri: z
      .string()
      .regex(/^[a-z][a-z0-9+.-]*:\/\/\S+$/, 'is not a URI')
      .optional(),
    name: z.string().min(1).optional(),
    version: z.string().regex(/^\d+$/, 'is not a number').default('1'),
    /** Digest of a remote model: `sha256:…` or an object generation. */
    digest: z.string().min(1).optional(),
  })
  .refine((model) => model.path === undefined || model.uri === undefined, {
    error: 'has both path and uri',
  })

/** The request's fields with their defaults, before the rules across them. */
export const Fields = z.strictObject({
  model: Model,
  servingSpec: ServingSpec,
  validationSpec: Budgets.prefault({}),
  requestSpec: RequestSpec.optional(),
  examples: Examples.optional(),
  requests: z.array(z.record(z.string(), z.unknown())).default([]),
  goldens: z.array(Golden).default([]),
  load: Load.optional(),
  gates: Gates.prefault({}),
  limits: Limits.prefault({}),
})
export type Fields = z.infer<typeof Fields>

export const ValidationRequest = Fields.superRefine((spec, context) => {
  for (const { field, message } of faultsAcross(spec)) {
    context.addIssue({ code: 'custom', path: field, message })
  }
}).meta({ id: 'ValidationRequest' })
export type ValidationRequest = z.infer<typeof ValidationRequest>

/** LOAD_AND_QUERY as soon as anything is to be sent. */
export function modeOf(
  spec: Pick<ValidationRequest, 'requests' | 'goldens' | 'requestSpec'>,
): 'LOAD_ONLY' | 'LOAD_AND_QUERY' {
  const queries = spec.requests.length > 0 || spec.goldens.length > 0 || spec.requestSpec !== undefined
  return queries ? 'LOAD_AND_QUERY' : 'LOAD_ONLY'
}

export interface ConfigFault {
  /** `servingSpec.binary.image`, `requests[0].inputs`. */
  field: string
  message: string
}

/** All faults at once, each with its field; no fault means `spec` is there. */
export type ParsedValidation =
  | { spec: ValidationRequest; faults?: never }
  | { spec?: never; faults: ConfigFault[] }

/** Reads a validation request; `accepted`: platforms that this deployment lets it use. Never throws. */
export function parseValidation(
  input: unknown,
  accepted: readonly PlatformKind[] = platformKinds,
): ParsedValidation {
  const shape = ValidationRequest.safeParse(input)
  const kind = Kind.safeParse(input).data?.servingSpec.platform.kind
  const faults = shape.error?.issues.flatMap(faultsOf) ?? []
  if (kind !== undefined && !accepted.includes(kind)) {
    const those = accepted.length === 0 ? 'none' : accepted.join(', ')
    const message = `${kind} is not accepted here: PERDURE_RUNNERS names ${those}`
    faults.push({ field: 'servingSpec.platform.kind', message })
  }
  return shape.success && faults.length === 0 ? { spec: shape.data } : { faults }
}

/** What of a request with other faults still tells where it would run. */
const Kind = z.object({ servingSpec: z.object({ platform: z.object({ kind: z.enum(platformKinds) }) }) })

/** The same as one `CONFIG_INVALID` error whose message lists every fault. */
export function configInvalid(faults: readonly ConfigFault[]): ServiceError {
  const text = faults.map(({ field, message }) => `${field}: ${message}`).join('; ')
  return new ServiceError('CONFIG_INVALID', text)
}

function faultsOf(issue: z.core.$ZodIssue): ConfigFault[] {
  const path = issue.path
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ field: fieldOf([...path, key]), message: 'is not a known field' }))
  }
  return [{ field: fieldOf(path), message: issue.message }]
}

function fieldOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    return text === '' ? String(part) : `${text}.${String(part)}`
  }, '')
}
