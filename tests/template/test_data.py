"""Resources with data outlive the stack, and are private, encrypted and recoverable."""

import re

import rust
from stack import Stack, proves, put

# Resource types that hold data of runs; a type that is new in the template must be added to one of the sets.
HOLDS_DATA = {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::S3::BucketPolicy"}
HOLDS_NONE = {
    "AWS::ApiGateway::Account",
    "AWS::ApiGateway::BasePathMapping",
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::DomainName",
    "AWS::ApiGateway::RestApi",
    "AWS::ApiGateway::Stage",
    "AWS::CloudWatch::Alarm",
    "AWS::Events::Rule",
    "AWS::IAM::Role",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::Logs::MetricFilter",
    "AWS::Route53::RecordSet",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
}


def data_is_retained(stack):
    """Deleting the stack, or a change that replaces a resource, deletes no data."""
    for name, resource in stack.resources.items():
        assert resource["Type"] in HOLDS_DATA | HOLDS_NONE, f"does {resource['Type']} hold data?"
        if resource["Type"] in HOLDS_DATA or name == "DeadLetters":
            assert resource.get("DeletionPolicy") == "Retain", name
            assert resource.get("UpdateReplacePolicy") == "Retain", name
    assert stack.properties("Table").get("DeletionProtectionEnabled") is True


test_data_is_retained = proves(
    data_is_retained,
    table_deleted_with_the_stack=put("Table", "DeletionPolicy", None),
    bucket_deleted_when_replaced=put("Bucket", "UpdateReplacePolicy", "Delete"),
    bucket_policy_deleted_with_the_stack=put("BucketPolicy", "DeletionPolicy", None),
    unprotected=put("Table", "Properties", "DeletionProtectionEnabled", False),
)

# Properties whose change makes CloudFormation replace the resource, by the reference of each type.
REPLACED_FOR = {
    "Table": ("TableName", "KeySchema", "ImportSourceSpecification"),
    "Bucket": ("BucketName", "ObjectLockEnabled"),
    "Queue": ("QueueName", "FifoQueue"),
    "DeadLetters": ("QueueName", "FifoQueue"),
}


def no_parameter_replaces_data(stack):
    """A deployment with other parameters keeps table, bucket and queues, so that runs in flight survive it."""
    for name, keys in REPLACED_FOR.items():
        for key in keys:
            given = stack.resources[name]["Properties"].get(key)
            assert "Ref" not in str(given) and "Fn::" not in str(given), f"{name}.{key}"


test_no_parameter_replaces_data = proves(
    no_parameter_replaces_data,
    named_by_stage=put("Table", "Properties", "TableName", {"Ref": "Stage"}),
)


def the_table_is_on_demand_and_recoverable(stack):
    table = stack.properties("Table")
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True, "RecoveryPeriodInDays": 35}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["TimeToLiveSpecification"]["Enabled"] is True
    for index in table["GlobalSecondaryIndexes"]:
        assert "ProvisionedThroughput" not in index


test_the_table_is_on_demand_and_recoverable = proves(
    the_table_is_on_demand_and_recoverable,
    no_recovery=put("Table", "Properties", "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled", False),
    nothing_expires=put("Table", "Properties", "TimeToLiveSpecification", "Enabled", False),
)


def table_in_the_code():
    """Returns the table as `shared/aws/src/table.rs` defines it: keys, attributes, the attribute of expiry, indexes
    by name."""
    source, _ = rust.files("shared/aws/src")["shared/aws/src/table.rs"]
    constants = dict(re.findall(r'pub const (\w+): &str = "([^"]+)";', source))

    def names(text):
        return [constants.get(name.strip().strip('"'), name.strip().strip('"')) for name in text.split(",") if name.strip()]

    listed = names(re.search(r"pub const LISTED: \[&str; \d+\] = \[([^\]]*)\];", source)[1])
    indexes, attributes = {}, {constants["PK"]: "S", constants["SK"]: "S"}
    for name, hash_key, hash_type, range_key, range_type, holds in re.findall(
        r'Index\s*\{\s*name:\s*"(\w+)",\s*hash:\s*\("(\w+)",\s*"(\w)"\),\s*range:\s*\("(\w+)",\s*"(\w)"\),\s*holds:\s*&(LISTED|\[[^\]]*\]),?\s*\}',
        source,
    ):
        indexes[name] = (hash_key, range_key, listed if holds == "LISTED" else names(holds.strip("[]")))
        attributes |= {hash_key: hash_type, range_key: range_type}
    assert len(indexes) == int(re.search(r"pub const INDEXES: \[Index; (\d+)\]", source)[1]) >= 4
    return (constants["PK"], constants["SK"]), attributes, constants["TTL"], indexes


def keys_of(schema):
    assert [key["KeyType"] for key in schema] == ["HASH", "RANGE"]
    return tuple(key["AttributeName"] for key in schema)


def the_table_matches_the_code(stack):
    table = stack.properties("Table")
    keys, attributes, ttl, indexes = table_in_the_code()
    assert keys_of(table["KeySchema"]) == keys
    assert {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]} == attributes
    assert table["TimeToLiveSpecification"] == {"AttributeName": ttl, "Enabled": True}
    given = {}
    for index in table["GlobalSecondaryIndexes"]:
        assert index["Projection"]["ProjectionType"] == "INCLUDE"
        given[index["IndexName"]] = (*keys_of(index["KeySchema"]), index["Projection"]["NonKeyAttributes"])
    assert given == indexes


def index(number, *path):
    return put("Table", "Properties", "GlobalSecondaryIndexes", number, *path)


test_the_table_matches_the_code = proves(
    the_table_matches_the_code,
    another_ttl=put("Table", "Properties", "TimeToLiveSpecification", "AttributeName", "expires"),
    another_type=put("Table", "Properties", "AttributeDefinitions", 2, "AttributeType", "S"),
    another_key=index(0, "KeySchema", 1, "AttributeName", "due"),
    less_projected=index(1, "Projection", "NonKeyAttributes", ["st"]),
    one_index_missing=lambda template: template["Resources"]["Table"]["Properties"]["GlobalSecondaryIndexes"].pop(),
)


def objects_expire_after_their_days(stack):
    """S3 has no expiry per object: there is one rule for each number of days in the code, and no other."""
    source, _ = rust.files("shared/aws/src")["shared/aws/src/bodies.rs"]
    days = [int(day) for day in re.search(r"pub const KEPT_DAYS: \[u16; \d+\] = \[([^\]]*)\];", source)[1].split(",") if day.strip()]
    assert len(days) > 5 and 'format!("runs/{}d/' in source
    rules = stack.properties("Bucket")["LifecycleConfiguration"]["Rules"]
    given = {rule.get("Prefix"): rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule}
    assert given == {f"runs/{day}d/": day for day in days}
    assert all(rule["Status"] == "Enabled" for rule in rules)


test_objects_expire_after_their_days = proves(
    objects_expire_after_their_days,
    too_soon=put("Bucket", "Properties", "LifecycleConfiguration", "Rules", 3, "ExpirationInDays", 1),
    never=lambda template: template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"].pop(),
    everything=lambda template: template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"].append(
        {"Id": "all", "Status": "Enabled", "ExpirationInDays": 30}
    ),
)


def the_bucket_is_private(stack):
    """No public access, no ACLs, encrypted, TLS 1.2 or later only."""
    bucket = stack.properties("Bucket")
    assert all(bucket["PublicAccessBlockConfiguration"].values()) and len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    policy = stack.properties("BucketPolicy")
    assert policy["Bucket"] == {"Ref": "Bucket"}
    conditions = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Deny" and statement["Principal"] == "*" and statement["Action"] == "s3:*"
        assert statement["Resource"] == [{"Fn::GetAtt": ["Bucket", "Arn"]}, {"Fn::Sub": "${Bucket.Arn}/*"}]
        conditions |= statement["Condition"]
    assert conditions == {
        "Bool": {"aws:SecureTransport": "false"},
        "NumericLessThan": {"s3:TlsVersion": "1.2"},
    }


test_the_bucket_is_private = proves(
    the_bucket_is_private,
    acl=put("Bucket", "Properties", "PublicAccessBlockConfiguration", "BlockPublicAcls", False),
    plain_http=lambda template: template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"].pop(0),
)


def incomplete_uploads_are_deleted(stack):
    """Parts of an incomplete upload cost storage and are not listed."""
    rules = stack.properties("Bucket")["LifecycleConfiguration"]["Rules"]
    assert any(
        rule["Status"] == "Enabled" and "Prefix" not in rule
        and 1 <= rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation", 0) <= 7
        for rule in rules
    )


test_incomplete_uploads_are_deleted = proves(
    incomplete_uploads_are_deleted, kept=put("Bucket", "Properties", "LifecycleConfiguration", {"Rules": []})
)


def test_a_browser_may_upload_only_from_the_given_origins():
    assert "CorsConfiguration" not in Stack().properties("Bucket")
    stack = Stack(CorsOrigins="https://a.example,https://b.example")
    (rule,) = stack.properties("Bucket")["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedOrigins"] == ["https://a.example", "https://b.example"]
    assert {"POST", "PUT"} <= set(rule["AllowedMethods"]) and rule["ExposedHeaders"] == ["ETag"]


def queues_are_encrypted(stack):
    for name in stack.of("AWS::SQS::Queue"):
        assert stack.properties(name).get("SqsManagedSseEnabled") is True, name


test_queues_are_encrypted = proves(queues_are_encrypted, plain=put("Queue", "Properties", "SqsManagedSseEnabled", False))
