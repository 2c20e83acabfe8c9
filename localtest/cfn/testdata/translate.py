import json
import sys

from cfnlint.decode import cfn_yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

template = json.loads(json.dumps(cfn_yaml.load(sys.argv[1])))
for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        resource["Properties"]["CodeUri"] = "s3://bucket/key"  # the translator takes what is uploaded already
        resource.pop("Metadata", None)
translated = Translator({}, Parser()).translate(template, {})
json.dump(translated, sys.stdout)
