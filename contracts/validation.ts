/** The validation request as it comes over HTTP or from a file: how it is read and what is told of its faults. */
import { z } from 'zod'
import { ServiceError } from './errors.ts'
import { faultsAcross } from './validation-faults.ts'
import { type PlatformKind, platformKinds } from './validation-serving.ts'
import { Fields } from './validations/fields.ts'

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
