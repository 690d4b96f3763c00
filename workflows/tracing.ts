/** Hands the trace context of a traced workflow on to its activities and children, and tells of its end. Decides nothing. */
import {
  defaultPayloadConverter,
  isCancellation,
  proxySinks,
  type WorkflowInterceptors,
  workflowInfo,
} from '@temporalio/workflow'
import {
  type TraceSinks,
  traceHeader,
  traceparentOf,
  type WorkflowSpan,
  workflowTrace,
} from '../contracts/trace.ts'

const { tracing } = proxySinks<TraceSinks>()

/** Loaded into every workflow; one that was started without a trace runs as if this were not here. */
export function interceptors(): WorkflowInterceptors {
  let parent: string | undefined
  let own: string | undefined

  function handOn<I extends { readonly headers: Record<string, unknown> }>(input: I, context = own): I {
    if (context === undefined) return input
    return {
      ...input,
      headers: { ...input.headers, [traceHeader]: defaultPayloadConverter.toPayload(context) },
    }
  }

  return {
    inbound: [
      {
        async execute(input, next) {
          const header = input.headers[traceHeader]
          parent = header && traceparentOf(defaultPayloadConverter.fromPayload(header))
          if (parent === undefined) return next(input)
          const { originalExecutionRunId, workflowType: name, runStartTime } = workflowInfo()
          own = workflowTrace(parent, originalExecutionRunId)
          const about = { parent, own, name, startedAtMs: runStartTime.getTime() }
          const ended = (outcome: WorkflowSpan['outcome']) =>
            tracing.ended({ ...about, endedAtMs: Date.now(), outcome })
          try {
            const result = await next(input)
            ended('completed')
            return result
          } catch (error) {
            ended(outcomeOf(error))
            throw error
          }
        },
      },
    ],
    outbound: [
      {
        scheduleActivity: (input, next) => next(handOn(input)),
        startChildWorkflowExecution: (input, next) => next(handOn(input)),
        // The next run is a sibling of this one, not its child.
        continueAsNew: (input, next) => next(handOn(input, parent)),
      },
    ],
  }
}

function outcomeOf(error: unknown): WorkflowSpan['outcome'] {
  if (error instanceof Error && error.name === 'ContinueAsNew') return 'continued'
  return isCancellation(error) ? 'canceled' : 'failed'
}
