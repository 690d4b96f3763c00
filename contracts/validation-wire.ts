/** Bodies of the validation and blessing routes. Field names are the specification's own. */
import { z } from 'zod'
import { failureClasses, verdicts } from './validation-verdict.ts'
import { validationPhases } from './validations.ts'

const verdict = z.enum(verdicts)
const failure = z.object({ class: z.enum(failureClasses), message: z.string() })

export const ValidationView = z
  .object({
    id: z.string().meta({ description: 'Also the id of its workflow' }),
    modelName: z.string(),
    status: z.enum(['running', 'ended']),
    verdict: verdict.nullable().meta({ description: 'null until it has ended' }),
    error: failure.nullable().meta({ description: 'A failure outside the attempts' }),
    blessing: z.string().nullable().meta({ description: 'Id of its blessing record' }),
    template: z.string().nullable().meta({ description: 'The validation that a schedule repeats' }),
    progress: z.object({
      phase: z.enum(validationPhases),
      binary: z.number().int().optional(),
      attempt: z.number().int().optional(),
      done: z.number().optional(),
      of: z.number().optional(),
      detail: z.string().optional(),
    }),
    createdAt: z.string(),
    endedAt: z.string().nullable(),
    urls: z.object({ get: z.string(), cancel: z.string(), logs: z.string(), schedule: z.string() }),
  })
  .meta({ id: 'Validation' })
export type ValidationView = z.infer<typeof ValidationView>

const anyObject = z.record(z.string(), z.unknown())

export const ValidationDetail = ValidationView.extend({
  binaries: z.array(z.string()).meta({ description: 'Images or kinds, by index' }),
  attempts: z.array(anyObject).meta({ description: 'By binary and number, as far as they have come' }),
  spec: anyObject.meta({ description: 'The request with its defaults' }),
}).meta({ id: 'ValidationDetail' })

const page = { next: z.string().nullable(), previous: z.string().nullable() }

export const ValidationList = z
  .object({ ...page, results: z.array(ValidationView) })
  .meta({ id: 'ValidationList' })

export const BlessingView = z
  .looseObject({
    id: z.string(),
    verdict,
    createdAt: z.string(),
    expiresAt: z.string(),
    revokedAt: z.string().nullable(),
    revokedReason: z.string().nullable(),
  })
  .meta({ id: 'Blessing', description: 'The record of specification 7.7 and its revocation' })

export const BlessingList = z.object({ ...page, results: z.array(BlessingView) }).meta({ id: 'BlessingList' })

export const Revocation = z
  .strictObject({ reason: z.string().max(1000).default('') })
  .meta({ id: 'Revocation', description: 'Why' })

/** How often a validation is repeated: exactly one of both. */
export const ValidationSchedule = z
  .strictObject({
    every: z.union([z.string(), z.number().positive()]).optional().meta({ example: '24h' }),
    cron: z.string().min(1).optional().meta({ example: '0 3 * * *', description: 'In UTC' }),
  })
  .refine(({ every, cron }) => (every === undefined) !== (cron === undefined), {
    error: 'needs exactly one of every and cron',
  })
  .meta({ id: 'ValidationSchedule' })
export type ValidationSchedule = z.infer<typeof ValidationSchedule>

export const ScheduleView = z
  .object({
    validation: z.string(),
    every: z.string().nullable(),
    cron: z.string().nullable(),
    next: z.array(z.string()),
    recent: z.array(z.string()).meta({ description: 'Ids of the latest validations it started' }),
  })
  .meta({ id: 'ScheduleView' })
export type ScheduleView = z.infer<typeof ScheduleView>
