"""Timeouts, visibility and concurrency match each other."""

from stack import FUNCTIONS, proves, put


def the_mapping(stack):
    mappings = list(stack.of("AWS::Lambda::EventSourceMapping"))
    assert len(mappings) == 1
    return stack.properties(mappings[0])


def the_visibility_timeout_is_that_of_the_worker(stack):
    """Lambda refuses a shorter visibility timeout; a longer one only delays, since a lost worker's run is recovered
    by its lease."""
    assert stack.properties("Queue")["VisibilityTimeout"] == stack.timeout("Worker")


test_the_visibility_timeout_is_that_of_the_worker = proves(
    the_visibility_timeout_is_that_of_the_worker,
    short=put("Queue", "Properties", "VisibilityTimeout", 60),
    long=put("Worker", "Properties", "Timeout", 600),
)


def executors_have_the_longest_timeout(stack):
    """An executor hands over 60 s before its end, so its timeout limits the duration of a step."""
    assert stack.timeout("Stream") == stack.timeout("Worker") == 900


test_executors_have_the_longest_timeout = proves(
    executors_have_the_longest_timeout, short=put("Worker", "Properties", "Timeout", 300)
)


def one_bad_message_fails_no_other(stack):
    """Partial batch responses, a limited number of workers, and a dead letter queue for messages that always fail."""
    mapping = the_mapping(stack)
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["Queue", "Arn"]}
    assert mapping["FunctionName"] == {"Ref": "Worker"}
    assert mapping.get("FunctionResponseTypes") == ["ReportBatchItemFailures"]
    assert 2 <= mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0) <= 1000
    assert 1 <= mapping["BatchSize"] <= 10
    redrive = stack.properties("Queue")["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
    assert redrive["maxReceiveCount"] >= 3


test_one_bad_message_fails_no_other = proves(
    one_bad_message_fails_no_other,
    whole_batches_fail=put("Worker", "Properties", "Events", "Queue", "Properties", "FunctionResponseTypes", None),
    unbounded=put("Worker", "Properties", "Events", "Queue", "Properties", "ScalingConfig", None),
    for_ever=put("Queue", "Properties", "RedrivePolicy", "maxReceiveCount", 1),
)


def reserved_concurrency_does_not_starve_the_mapping(stack):
    """With a reservation below the mapping's concurrency, Lambda throttles its own poller, and messages count as
    received."""
    reserved = stack.properties("Worker").get("ReservedConcurrentExecutions")
    assert reserved is None or reserved >= the_mapping(stack)["ScalingConfig"]["MaximumConcurrency"]


test_reserved_concurrency_does_not_starve_the_mapping = proves(
    reserved_concurrency_does_not_starve_the_mapping,
    starved=put("Worker", "Properties", "ReservedConcurrentExecutions", 10),
)


def streams_do_not_block_a_cancellation(stack):
    """The control function has reserved executions; the streaming one has no reservation."""
    assert stack.properties("Control").get("ReservedConcurrentExecutions", 0) >= 10
    assert "ReservedConcurrentExecutions" not in stack.properties("Stream")


test_streams_do_not_block_a_cancellation = proves(
    streams_do_not_block_a_cancellation,
    shared=put("Control", "Properties", "ReservedConcurrentExecutions", None),
)


def a_dead_letter_outlives_its_queue(stack):
    """A dead letter's age counts from when it was first sent."""
    dead = stack.properties("DeadLetters")["MessageRetentionPeriod"]
    assert dead > stack.properties("Queue")["MessageRetentionPeriod"]


test_a_dead_letter_outlives_its_queue = proves(
    a_dead_letter_outlives_its_queue, gone_first=put("DeadLetters", "Properties", "MessageRetentionPeriod", 86_400)
)


def sweeps_do_not_overlap(stack):
    """One sweep per minute, without retries that accumulate."""
    (rule,) = stack.of("AWS::Events::Rule")
    given = stack.properties(rule)
    assert given["ScheduleExpression"] == "rate(1 minute)"
    assert given["Targets"][0]["Arn"] == {"Fn::GetAtt": ["Sweeper", "Arn"]}
    assert stack.timeout("Sweeper") < 60
    (config,) = stack.of("AWS::Lambda::EventInvokeConfig")
    assert stack.properties(config)["MaximumRetryAttempts"] == 0


test_sweeps_do_not_overlap = proves(
    sweeps_do_not_overlap,
    overlaps=put("Sweeper", "Properties", "Timeout", 300),
    rare=put("Sweeper", "Properties", "Events", "Tick", "Properties", "Schedule", "rate(5 minutes)"),
)


def functions_have_enough_memory_for_a_fast_start(stack):
    """With 128 MB the first call of the SDK takes most of a second."""
    assert all(stack.properties(name)["MemorySize"] >= 512 for name in FUNCTIONS)
    for parameter in ("Memory", "WorkerMemory"):
        assert stack.source["Parameters"][parameter]["MinValue"] >= 512


test_functions_have_enough_memory_for_a_fast_start = proves(
    functions_have_enough_memory_for_a_fast_start, small=put("Control", "Properties", "MemorySize", 128)
)
