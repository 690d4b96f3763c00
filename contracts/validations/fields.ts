/** The fields of a validation request: shapes and defaults. The rules across fields are in validation-faults.ts. */
import { z } from 'zod'
import { Budgets } from '../validation-budgets.ts'
import { Examples, Gates, Golden, Load, RequestSpec } from '../validation-requests.ts'
import { Limits, ServingSpec } from '../validation-serving.ts'

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
